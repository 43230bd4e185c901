// `npm run demo|test|bench|soak` and `npm start`: installs and builds what the verb needs, then runs it.
// Plain JavaScript without dependencies, in the syntax of Node 12, so that an old Node reads as far as the sentence
// that says it is too old.

const required = [20, 19];
const found = process.versions.node.split(".").map(Number);
if (found[0] < required[0] || (found[0] === required[0] && found[1] < required[1])) {
  console.error(
    `culvert needs Node ${required.join(".")} or newer; this is ${process.versions.node} (${process.execPath}).\n` +
      "Newer ones: https://nodejs.org/en/download or https://github.com/nodesource/distributions",
  );
  process.exit(1);
}

import("./verbs.mjs")
  .then((verbs) => verbs.main(process.argv.slice(2)))
  .then(
    (code) => {
      process.exitCode = code;
    },
    (error) => {
      // A BootstrapError is a message for a person; anything else is our bug and keeps its stack.
      console.error(error.name === "BootstrapError" ? `\n${error.message}` : error);
      process.exitCode = 1;
    },
  );
