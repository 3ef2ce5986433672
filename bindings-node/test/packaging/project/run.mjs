import { main } from "./app.mjs";

main().then((result) => console.log(JSON.stringify(result)));
