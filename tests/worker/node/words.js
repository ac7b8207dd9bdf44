'use strict';
// Counts the words of texts. How many lines a text has decides how wide the graph is that counts them.
//
// Usage: node words.js ADDRESS. Registers its tasks, prints `ready` when it is connected, and works until SIGTERM.

const fs = require('node:fs/promises');
const { Worker } = require('./worker.js');

const TYPE = 'node-task';
const VERSION = '1';
const STRING = { simple: 'SIMPLE_TYPE_STRING' };
const COUNTS = { map_value_type: { simple: 'SIMPLE_TYPE_INTEGER' } };

/** A task's spec, from the types of its inputs and outputs. */
function spec(name, inputs, outputs, description) {
  const variables = (types) => ({
    variables: Object.fromEntries(Object.entries(types).map(([key, type]) => [key, { type }])),
  });
  return {
    template: {
      id: { name, version: VERSION },
      type: TYPE,
      interface: { inputs: variables(inputs), outputs: variables(outputs) },
    },
    description,
  };
}

const READ = spec('words.read', { path: STRING }, { text: STRING }, 'Reads a text, as soon as it is there.');
const COUNT = spec('words.count', { text: STRING }, { counts: COUNTS }, 'Counts the words of a text, line by line.');
// These two are not registered: the graph brings them along.
const COUNT_LINE = spec('words.count_line', { line: STRING }, { counts: COUNTS }, 'Counts the words of a line.');
const JOIN = spec('words.join', { parts: { collection_type: COUNTS } }, { counts: COUNTS }, 'Adds up counts.');

// Literals, and back.
const string = (value) => ({ scalar: { primitive: { string_value: value } } });
const integer = (value) => ({ scalar: { primitive: { integer: value } } });
const countsLiteral = (counts) => ({
  map: { literals: Object.fromEntries([...counts].map(([word, count]) => [word, integer(count)])) },
});
const countsOf = (literal) =>
  Object.entries(literal.map.literals).map(([word, { scalar }]) => [word, scalar.primitive.integer]);

function textOf(literal) {
  if (!literal.scalar) throw new RangeError('the text is too large: this worker fetches no values from elsewhere');
  return literal.scalar.primitive.string_value;
}

async function read({ path }) {
  for (;;) {
    try {
      return { outputs: { literals: { text: string(await fs.readFile(textOf(path), 'utf8')) } } };
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Gives a graph: a node for each line, and one that adds up what they give. A text without words needs none. */
function count({ text }) {
  const lines = textOf(text).split('\n').filter((line) => line.trim());
  if (lines.length === 0) return { outputs: { literals: { counts: countsLiteral([]) } } };
  const nodes = lines.map((line, number) => ({
    id: `line-${number}`,
    task_node: { reference_id: COUNT_LINE.template.id },
    inputs: [{ var: 'line', binding: string(line) }],
  }));
  const promises = nodes.map(({ id }) => ({ promise: { node_id: id, var: 'counts' } }));
  const join = {
    id: 'join',
    task_node: { reference_id: JOIN.template.id },
    inputs: [{ var: 'parts', binding: { collection: { bindings: promises } } }],
  };
  const outputs = [{ var: 'counts', binding: { promise: { node_id: 'join', var: 'counts' } } }];
  return { graph: { workflow: { nodes: [...nodes, join], outputs }, tasks: [COUNT_LINE, JOIN] } };
}

function countLine({ line }) {
  const counts = new Map();
  for (const word of textOf(line).toLowerCase().match(/\p{L}+/gu) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
  return { outputs: { literals: { counts: countsLiteral(counts) } } };
}

function join({ parts }) {
  const counts = new Map();
  for (const [word, number] of parts.collection.literals.flatMap(countsOf)) {
    counts.set(word, (counts.get(word) ?? 0) + number);
  }
  return { outputs: { literals: { counts: countsLiteral(counts) } } };
}

async function main(address) {
  const hello = { worker: `node-${process.pid}`, sdk: 'none', offer: { task_types: [TYPE], task_names: ['words.*'] } };
  const bodies = { 'words.read': read, 'words.count': count, 'words.count_line': countLine, 'words.join': join };
  const worker = new Worker(address, hello, 16, bodies);
  for (const each of [READ, COUNT]) await worker.register(each.template.id, each);
  await worker.run(() => {
    // Who waits for this may end the worker from now on.
    process.once('SIGTERM', () => worker.drain('it was told to end'));
    console.log('ready');
  });
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
