export default { test: { include: ["test/langgraph/validation/suite.mjs"] } };
