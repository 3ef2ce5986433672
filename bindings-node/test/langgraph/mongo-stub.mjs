// A stub of MongoDB's driver, for its saver: no server can be had here. It knows of queries what that saver asks, and keeps documents as BSON.
import { deserialize, EJSON, serialize } from "bson";

export class MongoStub {
  #collections = {};

  appendMetadata() {}

  db() {
    return { collection: (name) => this.collection(name) };
  }

  collection(name) {
    this.#collections[name] ??= new CollectionStub();
    return this.#collections[name];
  }

  /** All documents, by collection, as MongoDB's extended JSON. */
  json() {
    return EJSON.stringify(Object.fromEntries(Object.entries(this.#collections).map(([name, { documents }]) => [name, documents.map(read)])));
  }
}

class CollectionStub {
  documents = [];

  async createIndex() {}

  find(query) {
    let found = this.documents.map(read).filter((document) => matches(document, query));
    const cursor = {
      sort(field, direction) {
        found.sort((a, b) => (a[field] < b[field] ? -direction : direction));
        return cursor;
      },
      limit(count) {
        if (count > 0) found = found.slice(0, count);
        return cursor;
      },
      toArray: async () => found,
      async *[Symbol.asyncIterator]() {
        yield* found;
      },
    };
    return cursor;
  }

  async updateOne(filter, { $set, $setOnInsert, $currentDate }) {
    const dates = Object.fromEntries(Object.keys($currentDate ?? {}).map((name) => [name, new Date()]));
    const at = this.documents.findIndex((document) => matches(read(document), filter));
    const before = at < 0 ? { ...filter, ...$setOnInsert } : read(this.documents[at]);
    this.documents.splice(at < 0 ? this.documents.length : at, 1, serialize({ ...before, ...$set, ...dates }));
  }

  async bulkWrite(operations) {
    for (const { updateOne } of operations) await this.updateOne(updateOne.filter, updateOne.update);
  }

  async deleteMany(filter) {
    this.documents = this.documents.filter((document) => !matches(read(document), filter));
  }
}

const read = (document) => deserialize(document);

function matches(document, query) {
  return Object.entries(query).every(([path, wanted]) => {
    const value = path.split(".").reduce((at, name) => at?.[name], document);
    return wanted?.$lt === undefined ? (value ?? null) === wanted : value < wanted.$lt;
  });
}
