// The package `dockerode` of npm: the examples of its README, and the flows that its users build on streams.
//
// Runs against the engine of $DOCKER_HOST, which has the image busybox. Every step is tried; those that failed are
// named at the end.
'use strict';
const assert = require('assert');
const { PassThrough } = require('stream');
const { setTimeout: pause } = require('timers/promises');
const Docker = require('dockerode');
const tar = require('tar-stream');

const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace('unix://', ''), version: 'v1.45' });
const image = 'busybox';

function collect(stream) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    stream.on('data', (piece) => pieces.push(piece));
    stream.on('end', () => resolve(Buffer.concat(pieces)));
    stream.on('close', () => resolve(Buffer.concat(pieces)));
    stream.on('error', reject);
  });
}

async function separated(stream) {
  const out = new PassThrough(), err = new PassThrough();
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => { out.end(); err.end(); });
  return Promise.all([collect(out), collect(err)]).then((both) => both.map(String));
}

const steps = {
  async 'the container of the README'() {
    const container = await docker.createContainer({
      Image: image, AttachStdin: false, AttachStdout: true, AttachStderr: true, Tty: true,
      Cmd: ['/bin/sh', '-c', 'tail -f /dev/null'], OpenStdin: false, StdinOnce: false,
    });
    await container.start();
    await container.resize({ h: 40, w: 120 });
    const found = await docker.listContainers();
    assert.deepStrictEqual(found.map((one) => one.Id), [container.id]);
    assert.strictEqual((await container.inspect()).State.Running, true);
    await container.stop({ t: 0 });
    await container.remove();
    await assert.rejects(container.inspect(), { statusCode: 404, reason: 'no such container' });
  },

  async 'run with a terminal, and with streams apart'() {
    const out = new PassThrough(), kept = collect(out);
    const [data, container] = await docker.run(image, ['sh', '-c', 'uname -s; exit 5'], out);
    assert.strictEqual(data.StatusCode, 5);
    assert.strictEqual(String(await kept), 'Linux\r\n');
    await container.remove();
    const streams = [new PassThrough(), new PassThrough()], both = Promise.all(streams.map(collect));
    const seen = [];
    await new Promise((resolve, reject) => {
      docker.run(image, ['sh', '-c', 'echo out; echo err >&2'], streams, { Tty: false, HostConfig: { AutoRemove: true } },
        (error, result) => (error ? reject(error) : resolve(result)))
        .on('container', () => seen.push('container')).on('stream', () => seen.push('stream'))
        .on('start', () => seen.push('start')).on('data', () => seen.push('data'));
    });
    streams.forEach((stream) => stream.end());
    assert.deepStrictEqual((await both).map(String), ['out\n', 'err\n']);
    assert.deepStrictEqual(seen, ['container', 'stream', 'start', 'data']);
  },

  async 'hijacked exec whose input ends'() {
    const container = await docker.createContainer({ Image: image, Cmd: ['sleep', '300'], Tty: false });
    await container.start();
    const exec = await container.exec({ Cmd: ['sha1sum', '-'], AttachStdin: true, AttachStdout: true });
    const stream = await exec.start({ hijack: true, stdin: true });
    const answer = separated(stream);
    stream.write('abc');
    stream.end();
    assert.deepStrictEqual(await answer, ['a9993e364706816aba3e25717850c26c9cd0d89d  -\n', '']);
    const state = await exec.inspect();
    assert.deepStrictEqual([state.Running, state.ExitCode, state.ContainerID], [false, 0, container.id]);
    // not hijacked: an answer like any other
    const plain = await container.exec({ Cmd: ['sh', '-c', 'echo a; echo b >&2'], AttachStdout: true, AttachStderr: true });
    assert.deepStrictEqual(await separated(await plain.start({})), ['a\n', 'b\n']);
  },

  async 'attach before start, input by hijacking'() {
    const container = await docker.createContainer({
      Image: image, Cmd: ['cat'], OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
    });
    const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
    const answer = separated(stream);
    await container.start();
    stream.write('line one\n');
    stream.end('line two\n');
    assert.deepStrictEqual(await answer, ['line one\nline two\n', '']);
    assert.deepStrictEqual(await container.wait(), { StatusCode: 0 });
  },

  async 'a terminal, resized and typed into'() {
    const container = await docker.createContainer({
      Image: image, Cmd: ['sh'], Tty: true, OpenStdin: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
    });
    const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
    const answer = collect(stream);
    await container.start();
    await container.resize({ h: 17, w: 71 });
    stream.write('stty size; exit 3\n');
    assert.strictEqual((await container.wait()).StatusCode, 3);
    assert.match(String(await answer), /\r\n17 71\r\n/);
  },

  async 'logs, followed and not'() {
    const container = await docker.createContainer({ Image: image, Cmd: ['sh', '-c', 'echo one; sleep 0.3; echo two >&2'] });
    await container.start();
    const followed = await container.logs({ follow: true, stdout: true, stderr: true });
    assert.deepStrictEqual(await separated(followed), ['one\n', 'two\n']);
    const whole = await container.logs({ stdout: true, stderr: true, tail: 1, timestamps: true });
    assert.match(whole.subarray(8).toString(), /^\d{4}-\d\d-\d\dT[\d:.]+Z two\n$/);
  },

  async 'files in and out'() {
    const container = await docker.createContainer({ Image: image, Cmd: ['cat', '/tmp/put.txt'] });
    const pack = tar.pack();
    pack.entry({ name: 'put.txt' }, 'put here');
    pack.finalize();
    await container.putArchive(pack, { path: '/tmp' });
    await container.start();
    await container.wait();
    assert.strictEqual((await container.logs({ stdout: true })).subarray(8).toString(), 'put here');
    const extract = tar.extract(), found = {};
    extract.on('entry', async (header, stream, next) => { found[header.name] = String(await collect(stream)); next(); });
    const archive = await container.getArchive({ path: '/tmp/put.txt' });
    await new Promise((resolve) => archive.pipe(extract).on('finish', resolve));
    assert.deepStrictEqual(found, { 'put.txt': 'put here' });
    const info = await container.infoArchive({ path: '/tmp/put.txt' });
    await collect(info);
    assert.ok((await container.changes()).some((change) => change.Path === '/tmp/put.txt' && change.Kind === 1));
  },

  async 'statistics, processes, update, rename'() {
    const container = await docker.createContainer({ Image: image, Cmd: ['sleep', '300'], name: 'ode' });
    await container.start();
    assert.strictEqual((await container.top({ ps_args: '-o pid,args' })).Titles[0], 'PID');
    const once = await container.stats({ stream: false, 'one-shot': true });
    assert.strictEqual(once.pids_stats.current, 1);
    const stream = await container.stats({ stream: true });
    const first = await new Promise((resolve) => stream.once('data', resolve));
    assert.strictEqual(JSON.parse(first).name, '/ode');
    stream.destroy();
    await container.update({ Memory: 64 << 20, MemorySwap: 128 << 20 });
    await container.rename({ name: 'ode-renamed' });
    await container.pause();
    const state = await container.inspect();
    assert.deepStrictEqual([state.Name, state.HostConfig.Memory, state.State.Status], ['/ode-renamed', 64 << 20, 'paused']);
    await container.unpause();
    await container.kill();
    assert.strictEqual((await container.wait({ condition: 'not-running' })).StatusCode, 137);
  },

  async 'promises and callbacks agree on failures'() {
    await assert.rejects(docker.createContainer({ Image: 'no-such-image:none' }), { statusCode: 404 });
    await assert.rejects(docker.getContainer('nosuch').start(), { statusCode: 404 });
    await docker.createContainer({ Image: image, name: 'taken' });
    await assert.rejects(docker.createContainer({ Image: image, name: 'taken' }), { statusCode: 409 });
    await assert.rejects(docker.createContainer({ Image: image, name: 'a b' }), { statusCode: 400 });
    const failure = await new Promise((resolve) => docker.getImage('nosuch').inspect((error) => resolve(error)));
    assert.strictEqual(failure.statusCode, 404);
    const container = await docker.createContainer({ Image: image, Cmd: ['true'] });
    await container.start();
    await container.wait();
    await container.start();
    await container.wait();
    await assert.rejects(container.stop(), { statusCode: 304 });
  },

  async 'events as they come'() {
    const aborter = new AbortController();
    const stream = await docker.getEvents({ filters: { type: ['container'], event: ['create', 'start', 'die'] }, abortSignal: aborter.signal });
    const seen = [];
    stream.on('data', (chunk) => String(chunk).trim().split('\n').forEach((line) => seen.push(JSON.parse(line).Action)));
    stream.on('error', () => {});
    const [, container] = await docker.run(image, ['true'], new PassThrough());
    await container.remove();
    for (let round = 0; round < 100 && seen.length < 3; round++) await pause(20);
    aborter.abort();
    assert.deepStrictEqual(seen, ['create', 'start', 'die']);
  },

  async 'images: tag, save, load, history, remove'() {
    const original = docker.getImage(image);
    await original.tag({ repo: 'ode/tagged', tag: 'one' });
    const saved = await collect(await docker.getImage('ode/tagged:one').get());
    await docker.getImage('ode/tagged:one').remove();
    const { Readable } = require('stream');
    const loading = await docker.loadImage(Readable.from([saved]));
    const told = await new Promise((resolve, reject) =>
      docker.modem.followProgress(loading, (error, all) => (error ? reject(error) : resolve(all))));
    assert.ok(told.some((line) => line.stream === 'Loaded image: ode/tagged:one\n'), JSON.stringify(told));
    assert.ok((await original.history())[0].Id);
    const list = await docker.listImages({ filters: { reference: ['ode/tagged'] } });
    assert.deepStrictEqual(list.map((one) => one.RepoTags.includes('ode/tagged:one')), [true]);
    assert.deepStrictEqual(await docker.getImage('ode/tagged:one').remove(), [{ Untagged: 'ode/tagged:one' }]);
    const container = await docker.createContainer({ Image: image, Cmd: ['touch', '/made'] });
    await container.start();
    await container.wait();
    const { Id } = await container.commit({ repo: 'ode/committed', tag: 'x' });
    assert.match(Id, /^sha256:/);
    assert.ok((await collect(await container.export())).includes('made'));
    await docker.getImage('ode/committed:x').remove();
  },

  async 'the engine itself'() {
    assert.strictEqual(String(await docker.ping()), 'OK');
    assert.strictEqual((await docker.version()).Os, 'linux');
    assert.strictEqual((await docker.info()).OSType, 'linux');
    assert.ok(Array.isArray((await docker.df()).Images));
    const networks = await docker.listNetworks({ filters: { driver: ['bridge'] } });
    assert.ok(networks.some((network) => network.Name === 'bridge'));
    assert.deepStrictEqual((await docker.pruneContainers({ filters: { label: ['nobody-has-this'] } })).SpaceReclaimed, 0);
  },
};

(async () => {
  const failed = [];
  for (const [name, step] of Object.entries(steps)) {
    console.log('step', name);
    await Promise.race([step(), pause(30000, null, { ref: false }).then(() => { throw new Error('not within 30 s'); })])
      .catch((error) => { failed.push(name); console.log(error); });
    for (const one of await docker.listContainers({ all: true })) await docker.getContainer(one.Id).remove({ force: true, v: true }).catch(() => {}); // one may be going already
  }
  console.log(failed.length ? `failed: ${JSON.stringify(failed)}` : 'all steps passed');
  process.exit(failed.length ? 1 : 0);
})();
