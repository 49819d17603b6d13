// The package `testcontainers` of npm: its quick starts with generic containers, and each wait strategy.
'use strict';
const assert = require('assert');
const { setTimeout: pause } = require('timers/promises');
const { GenericContainer, Wait, getContainerRuntimeClient } = require('testcontainers');

const server = ['sh', '-c', 'echo starting; mkdir -p /www; echo hello > /www/index.html; sleep 0.3; echo ready to accept; exec httpd -f -p 80 -h /www'];
const base = () => new GenericContainer('busybox').withCommand(server).withExposedPorts(80);

const steps = {
  async 'the quick start: a mapped port answers'() {
    const container = await base().withStartupTimeout(20000).start();
    try {
      const answer = await fetch(`http://127.0.0.1:${container.getMappedPort(80)}/`);
      assert.strictEqual(await answer.text(), 'hello\n');
      const { output, exitCode, stdout, stderr } = await container.exec(['sh', '-c', 'echo out; echo err >&2; exit 3']);
      assert.deepStrictEqual([exitCode, stdout, stderr], [3, 'out\n', 'err\n']);
      assert.strictEqual(output, 'out\nerr\n');
      const lines = [];
      (await container.logs()).on('data', (line) => lines.push(String(line)));
      for (let round = 0; round < 100 && lines.length < 2; round++) await pause(20);
      assert.ok(lines.join('').includes('ready to accept'), lines.join());
    } finally {
      await container.stop();
    }
  },
  async 'wait for a log message'() {
    const container = await base().withWaitStrategy(Wait.forLogMessage(/ready to accept/)).start();
    await container.restart();
    await container.stop();
  },
  async 'wait for an HTTP answer'() {
    await (await base().withWaitStrategy(Wait.forHttp('/index.html', 80).forStatusCode(200)).start()).stop();
  },
  async 'wait for a health check'() {
    const container = await base()
      .withHealthCheck({ test: ['CMD-SHELL', 'test -e /www/index.html'], interval: 200, timeout: 3000, retries: 20 })
      .withWaitStrategy(Wait.forHealthCheck()).start();
    await container.stop();
  },
  async 'wait for a command inside'() {
    await (await base().withWaitStrategy(Wait.forSuccessfulCommand('test -e /www/index.html')).start()).stop();
  },
  async 'wait for a container that ends'() {
    const container = await new GenericContainer('busybox').withCommand(['true']).withWaitStrategy(Wait.forOneShotStartup()).start();
    await container.stop();
  },
  async 'files, environment, labels, mounts, reuse of names'() {
    const container = await new GenericContainer('busybox')
      .withCommand(['sh', '-c', 'cat /given/file; echo $WORD; sleep 300'])
      .withCopyContentToContainer([{ content: 'copied\n', target: '/given/file' }])
      .withEnvironment({ WORD: 'of environment' }).withLabels({ made: 'by-node' }).withTmpFs({ '/t': 'rw,size=1m' })
      .withUser('root').withWorkingDir('/given').withName('tc-node').withSharedMemorySize(1 << 20)
      .withUlimits({ nofile: { soft: 200, hard: 300 } }).withAddedCapabilities('NET_ADMIN').withExtraHosts([{ host: 'far', ipAddress: '10.0.0.9' }])
      .withWaitStrategy(Wait.forLogMessage('of environment')).start();
    assert.strictEqual(container.getName().replace('/', ''), 'tc-node');
    assert.strictEqual((await container.exec('pwd')).output, '/given\n');
    assert.strictEqual((await container.exec(['sh', '-c', 'ulimit -n'])).output, '200\n');
    assert.match((await container.exec(['cat', '/etc/hosts'])).output, /10\.0\.0\.9\tfar/);
    const runtime = await getContainerRuntimeClient();
    assert.strictEqual((await runtime.container.getById(container.getId()).inspect()).Config.Labels.made, 'by-node');
    await container.stop({ remove: true, timeout: 1000 });
  },
};

(async () => {
  const failed = [];
  for (const [name, step] of Object.entries(steps)) {
    console.log('step', name);
    await step().catch((error) => { failed.push(name); console.log(error); });
  }
  console.log(failed.length ? `failed: ${JSON.stringify(failed)}` : 'all steps passed');
  process.exit(failed.length ? 1 : 0);
})();
