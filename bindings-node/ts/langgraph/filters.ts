/** Filters on fields that the database cannot read, applied after opening. */

import { isDeepStrictEqual } from "node:util";
import { _internal } from "sealpoint";
import { isPlain } from "./json.js";

const { fail } = _internal;

const ORDER: Record<string, (a: number | string, b: number | string) => boolean> = {
  $gt: (a, b) => a > b,
  $gte: (a, b) => a >= b,
  $lt: (a, b) => a < b,
  $lte: (a, b) => a <= b,
};
const OPERATORS = ["$eq", "$gt", "$gte", "$in", "$lt", "$lte", "$ne", "$nin"];

/** Refuses an operator that `matches` does not know. Throws: `invalid_argument`. */
export function checkFilter(condition: unknown): void {
  if (Array.isArray(condition)) {
    condition.forEach(checkFilter);
  } else if (isPlain(condition)) {
    const names = Object.keys(condition);
    const known = names.filter((name) => OPERATORS.includes(name)).length;
    if (names.some((name) => name.startsWith("$")) && known !== names.length) {
      throw fail("invalid_argument", `a filter knows the operators ${OPERATORS.join(", ")} and no others`);
    }
    for (const name of ["$in", "$nin"]) {
      if (Object.hasOwn(condition, name) && !Array.isArray(condition[name])) throw fail("invalid_argument", `${name} in a filter takes an array`);
    }
    Object.values(condition).forEach(checkFilter);
  }
}

/**
 * As `InMemoryStore` compares, and arrays and objects by what they hold. An order (`$gt` …) is that of numbers and of what reads as one, else of two strings as text
 * (as in the databases); anything else does not match.
 */
export function matches(value: Record<string, unknown>, wanted: Record<string, unknown>): boolean {
  return Object.entries(wanted).every(([name, condition]) => fits(Object.hasOwn(value, name) ? value[name] : undefined, condition));
}

function fits(value: unknown, condition: unknown): boolean {
  if (!isPlain(condition)) return isDeepStrictEqual(value, condition);
  if (Object.keys(condition).some((name) => name.startsWith("$"))) {
    return Object.entries(condition).every(([operator, operand]) => compare(value, operator, operand));
  }
  return isPlain(value) && matches(value, condition);
}

function compare(value: unknown, operator: string, operand: unknown): boolean {
  const equal = (other: unknown) => isDeepStrictEqual(value, other);
  if (operator === "$eq") return equal(operand);
  if (operator === "$ne") return !equal(operand);
  if (operator === "$in") return (operand as unknown[]).some(equal);
  if (operator === "$nin") return !(operand as unknown[]).some(equal);
  const order = ORDER[operator];
  if (order === undefined || !isScalar(value) || !isScalar(operand)) return false;
  const [a, b] = [Number(value), Number(operand)];
  if (!Number.isNaN(a) && !Number.isNaN(b)) return order(a, b);
  return typeof value === "string" && typeof operand === "string" && order(value, operand);
}

function isScalar(value: unknown): value is string | number | boolean {
  return ["string", "number", "boolean"].includes(typeof value);
}
