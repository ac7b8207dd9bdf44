'use strict';
// A worker in plain JavaScript: the Work stream, from the text of the protos and with no generated code.

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const PROTOS = path.join(__dirname, '..', '..', '..', 'protos');
const FILES = ['task_service', 'worker_service'].map((name) => `lacewing/v1/${name}.proto`);
const definitions = protoLoader.loadSync(FILES, {
  includeDirs: [PROTOS],
  keepCase: true, // names are those of the protos
  longs: Number,
  enums: String,
  arrays: true, // what is repeated and absent is empty, and nothing else is made up
  objects: true,
});
const { TaskService, WorkerService } = grpc.loadPackageDefinition(definitions).lacewing.v1;

/** Takes attempts from a server and answers each with what its body gives. */
class Worker {
  /**
   * @param {string} address Where the server is, as host:port.
   * @param {object} hello Its name and what it offers: the message `Hello`.
   * @param {number} credit How many attempts it runs at a time.
   * @param {object} bodies By the name of their task: functions of the inputs of an attempt, which is a `LiteralMap`, that
   *   give, or promise, the part of a `Completion` that is the result: `{outputs}` or `{graph}`.
   */
  constructor(address, hello, credit, bodies) {
    this.address = address;
    this.hello = hello;
    this.credit = credit;
    this.bodies = bodies;
    this.held = new Map(); // the leases by their tokens, which are bytes, in hexadecimal digits
  }

  /** Registers a version of a task. Registering what is registered already is no error. */
  register(id, spec) {
    const client = new TaskService(this.address, grpc.credentials.createInsecure());
    return new Promise((resolve, reject) => {
      client.RegisterTask({ id, spec }, (error, response) => (error ? reject(error) : resolve(response)));
    });
  }

  /** Works until the server has let it go, after `drain`; fails when the stream breaks. Tells when it is connected. */
  run(connected) {
    const client = new WorkerService(this.address, grpc.credentials.createInsecure());
    this.stream = client.Work();
    let beat;
    return new Promise((resolve, reject) => {
      this.stream.on('data', (response) => {
        if (response.welcome) {
          const { seconds = 0, nanos = 0 } = response.welcome.heartbeat_interval;
          beat = setInterval(() => this.sendHeartbeats(), seconds * 1000 + nanos / 1e6);
          connected();
        }
        this.take(response);
      });
      this.stream.on('error', reject);
      this.stream.on('end', () => (this.ended ? resolve() : reject(new Error('the server has ended the stream'))));
      this.stream.write({ hello: this.hello, credit: this.credit });
    }).finally(() => {
      clearInterval(beat);
      client.close();
    });
  }

  /** Takes no more leases, and ends when those it holds have ended. */
  drain(reason) {
    if (this.draining) return;
    this.draining = true;
    this.stream.write({ drain: { reason } });
    this.endIfDone();
  }

  take(response) {
    for (const lease of response.leases) this.attempt(lease);
    // What is revoked is forgotten; its body may come to an end, and nothing is told of it.
    for (const { token } of response.revocations) {
      if (this.held.delete(token.toString('hex'))) this.send({ credit: 1 });
    }
    for (const { error } of response.results) {
      if (error) console.error(`refused: ${error.reason}: ${error.message}`, ...error.violations);
    }
    if (response.drain) this.drain('the server goes away');
    this.endIfDone();
  }

  async attempt(lease) {
    const token = lease.token.toString('hex');
    this.held.set(token, lease);
    const result = await this.resultOf(lease);
    if (!this.held.delete(token)) return;
    this.send({ completions: [{ token: lease.token, ...result }], credit: this.draining ? 0 : 1 });
    this.endIfDone();
  }

  async resultOf(lease) {
    try {
      return await this.bodies[lease.task.name](lease.inputs.literals);
    } catch (error) {
      return { error: { kind: 'KIND_USER', code: error.name, message: error.message, stack_trace: error.stack } };
    }
  }

  sendHeartbeats() {
    this.send({ heartbeats: [...this.held.values()].map(({ token }) => ({ token })) });
  }

  send(request) {
    if (!this.ended) this.stream.write(request);
  }

  endIfDone() {
    if (this.draining && this.held.size === 0 && !this.ended) {
      this.ended = true;
      this.stream.end();
    }
  }
}

module.exports = { Worker };
