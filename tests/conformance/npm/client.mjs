// Drives a server, whose URL is the first argument, with the JavaScript client of Kubernetes; ends with 1 at the first surprise.
// The second argument says whether containers there are `real`: then commands run in them and their ports answer.
import assert from 'node:assert/strict';
import net from 'node:net';
import { createRequire } from 'node:module';
import { PassThrough, Writable } from 'node:stream';

// The client lies below the target directory, not beside this file.
const k8s = createRequire(process.argv[4] + '/')('@kubernetes/client-node');

const [server, containers] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromClusterAndUser({ name: 'mkube', server, skipTLSVerify: true }, { name: 'nobody' });
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const custom = config.makeApiClient(k8s.CustomObjectsApi);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const namespace = 'default';
const PATIENCE = 60_000;

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function until(what, holds) {
    const end = Date.now() + PATIENCE;
    while (!(await holds())) {
        assert(Date.now() < end, `not in time: ${what}`);
        await pause(20);
    }
}

async function refused(code, call) {
    const error = await call().then(() => assert.fail(`a refusal with ${code} was expected`), (error) => error);
    assert.equal(error.code, code, `${error}`);
    return error;
}

function collected() {
    const parts = [];
    const stream = new Writable({ write: (part, _, done) => (parts.push(part), done()) });
    return { stream, text: () => Buffer.concat(parts).toString() };
}

// Typed calls: bodies have no kind.
assert.equal((await config.makeApiClient(k8s.VersionApi).getCode()).minor, '32');
const map = { metadata: { name: 'settings', labels: { app: 'npm' } }, data: { a: '1' } };
const made = await core.createNamespacedConfigMap({ namespace, body: map });
assert(made.metadata.uid && made.metadata.creationTimestamp instanceof Date);
await refused(409, () => core.createNamespacedConfigMap({ namespace, body: map }));
const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: 'app in (npm)' });
assert.deepEqual(listed.items.map((one) => one.metadata.name), ['settings']);
made.data.b = '2';
assert.deepEqual((await core.replaceNamespacedConfigMap({ name: 'settings', namespace, body: made })).data, { a: '1', b: '2' });
await refused(409, () => core.replaceNamespacedConfigMap({ name: 'settings', namespace, body: made }));

// Statement 57: the typed client sends JSON patches, the untyped one strategic ones.
const operations = [{ op: 'replace', path: '/data/a', value: '3' }];
assert.equal((await core.patchNamespacedConfigMap({ name: 'settings', namespace, body: operations })).data.a, '3');
const named = (data) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings', namespace }, data });
const strategic = await objects.patch(named({ c: '4', b: null }));
assert.deepEqual(strategic.data, { a: '3', c: '4' });
const merged = await objects.patch(named({ c: null }), undefined, undefined, undefined, undefined, k8s.PatchStrategy.MergePatch);
assert.deepEqual(merged.data, { a: '3' });
await refused(404, () => core.readNamespacedConfigMap({ name: 'nosuch', namespace }));
await refused(400, () => core.listNamespacedConfigMap({ namespace, fieldSelector: 'spec.foo=b' }));

// Server-side apply, its conflict, and force.
const apply = (who, data, force) => objects.patch(named(data), undefined, undefined, who, force, k8s.PatchStrategy.ServerSideApply);
assert.equal((await apply('first', { x: '1' }, false)).data.x, '1');
const conflict = await refused(409, () => apply('second', { x: '2' }, false));
assert.match(JSON.parse(conflict.body).message, /conflict with "first"/);
assert.equal((await apply('second', { x: '2' }, true)).data.x, '2');

// Every verb of the untyped client.
const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'turn', namespace }, spec: { holderIdentity: 'me' } };
await objects.create(lease);
const read = await objects.read(lease);
read.spec.holderIdentity = 'you';
assert.equal((await objects.replace(read)).spec.holderIdentity, 'you');
assert((await objects.list('coordination.k8s.io/v1', 'Lease', namespace)).items.some((one) => one.metadata.name === 'turn'));
assert.equal((await objects.delete(lease)).status, 'Success');

// An informer: what is there, then what happens, in order.
const told = [];
const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, () => core.listNamespacedConfigMap({ namespace }));
for (const verb of ['add', 'update', 'delete']) {
    informer.on(verb, (one) => one.metadata.name.startsWith('watched') && told.push(`${verb} ${one.metadata.name}`));
}
const failures = [];
informer.on('error', (error) => failures.push(error));
await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'watched-before' } } });
await informer.start();
await until('the first object', () => told.length === 1);
await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'watched' } } });
await core.patchNamespacedConfigMap({ name: 'watched', namespace, body: [{ op: 'add', path: '/data', value: { a: '1' } }] });
await core.deleteNamespacedConfigMap({ name: 'watched', namespace });
await until('all that happened', () => told.length === 4);
assert.deepEqual(told, ['add watched-before', 'add watched', 'update watched', 'delete watched']);
assert.deepEqual(informer.list().filter((one) => one.metadata.name.startsWith('watched')).length, 1);
assert.deepEqual(failures, [], 'stopping it aborts its watch, which is an error too');
await informer.stop();

// A bare watch, which ends by itself.
const seen = [];
await new Promise((ended, failed) => {
    const watch = new k8s.Watch(config);
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    watch.watch(path, { timeoutSeconds: 1 }, (kind) => seen.push(kind), (error) => (error ? failed(error) : ended())).catch(failed);
});
assert(seen.length > 0 && seen.every((kind) => kind === 'ADDED'), `${seen}`);

// Statement 58: a kind this client has no types for.
const hosts = { group: 'vkube.io', version: 'v1alpha1', namespace, plural: 'baremetalhosts' };
const machine = {
    apiVersion: 'vkube.io/v1alpha1', kind: 'BareMetalHost', metadata: { name: 'machine' },
    spec: { bootMACAddress: '02:00:00:00:00:01' },
};
await custom.createNamespacedCustomObject({ ...hosts, body: machine });
assert.equal((await custom.listNamespacedCustomObject(hosts)).items.length, 1);
const labelled = [{ op: 'add', path: '/metadata/labels', value: { rack: 'a' } }];
const patched = await custom.patchNamespacedCustomObject({ ...hosts, name: 'machine', body: labelled });
assert.equal(patched.metadata.labels.rack, 'a');
const status = [{ op: 'add', path: '/status', value: { phase: 'Ready' } }];
assert.equal((await custom.patchNamespacedCustomObjectStatus({ ...hosts, name: 'machine', body: status })).status.phase, 'Ready');
await custom.deleteNamespacedCustomObject({ ...hosts, name: 'machine' });
await refused(404, () => custom.getNamespacedCustomObject({ ...hosts, name: 'machine' }));

// A Deployment, its scale, and who it made.
const container = { name: 'c', image: 'hello:latest', command: ['/bin/busybox', 'sleep', '100000'] };
const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [container], terminationGracePeriodSeconds: 1 } };
const spec = { replicas: 1, selector: { matchLabels: { app: 'web' } }, template };
await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: 'web' }, spec } });
// Its status is written meanwhile: whoever replaces what he read may have to read it again.
await until('its scale', async () => {
    const scale = await apps.readNamespacedDeploymentScale({ name: 'web', namespace });
    scale.spec.replicas = 2;
    const replaced = apps.replaceNamespacedDeploymentScale({ name: 'web', namespace, body: scale });
    return replaced.then((body) => body.spec.replicas === 2, (error) => assert.equal(error.code, 409));
});
await until('two replicas', async () => (await apps.readNamespacedDeployment({ name: 'web', namespace })).status?.readyReplicas === 2);
await apps.deleteNamespacedDeployment({ name: 'web', namespace });
const pods = async () => (await core.listNamespacedPod({ namespace, labelSelector: 'app=web' })).items.length;
await until('the end of its pods', async () => (await pods()) === 0);

// A pod, its log, commands in it, its port.
const page = "echo begun; /bin/busybox mkdir -p /www; echo from the pod > /www/note; exec /bin/busybox httpd -f -p 80 -h /www";
const box = { name: 'main', image: 'hello:latest', command: ['/bin/busybox', 'sh', '-c', page] };
await core.createNamespacedPod({ namespace, body: { metadata: { name: 'npm' }, spec: { containers: [box], terminationGracePeriodSeconds: 1 } } });
await until('the pod', async () => (await core.readNamespacedPod({ name: 'npm', namespace })).status.phase === 'Running');
assert.equal(typeof (await core.readNamespacedPodLog({ name: 'npm', namespace, tailLines: 5 })), 'string');
await refused(400, () => core.readNamespacedPodLog({ name: 'npm', namespace, container: 'nosuch' }));
if (containers === 'real') {
    await streams();
}
await core.deleteNamespacedPod({ name: 'npm', namespace });
await until('the end of the pod', () => core.readNamespacedPod({ name: 'npm', namespace }).then(() => false, (error) => error.code === 404));
await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'app=npm' });
await core.deleteNamespacedConfigMap({ name: 'watched-before', namespace });
console.log('all well');
process.exit(0);

async function streams() {
    const log = collected();
    await new k8s.Log(config).log(namespace, 'npm', 'main', log.stream, { follow: true });
    await until('the line in the log', () => log.text() === 'begun\n');

    const exec = new k8s.Exec(config);
    const run = async (command, input) => {
        const [out, err] = [collected(), collected()];
        const ended = await new Promise((done, failed) => {
            exec.exec(namespace, 'npm', 'main', command, out.stream, err.stream, input, false, done).catch(failed);
        });
        return { ended, out: out.text(), err: err.text() };
    };
    const failing = await run(['/bin/busybox', 'sh', '-c', 'echo out; echo err >&2; exit 3'], null);
    assert.deepEqual([failing.out, failing.err, failing.ended.status], ['out\n', 'err\n', 'Failure']);
    assert.equal(failing.ended.details.causes.find((cause) => cause.reason === 'ExitCode').message, '3');
    const typed = new PassThrough();
    typed.end('there and back');
    const echoed = await run(['/bin/busybox', 'cat'], typed);
    assert.deepEqual([echoed.out, echoed.ended.status], ['there and back', 'Success']);

    // The library's own way to the port: a listener here, one connection there for each.
    const forward = new k8s.PortForward(config);
    const listener = net.createServer((socket) => {
        forward.portForward(namespace, 'npm', [80], socket, null, socket).catch((error) => socket.destroy(error));
    });
    await new Promise((done) => listener.listen(0, '127.0.0.1', done));
    const fetched = () =>
        new Promise((done, failed) => {
            const answer = [];
            const socket = net.connect(listener.address().port, '127.0.0.1', () => socket.write('GET /note HTTP/1.0\r\n\r\n'));
            socket.on('data', (part) => {
                answer.push(part);
                const text = Buffer.concat(answer).toString();
                if (text.endsWith('from the pod\n')) {
                    socket.end();
                    done(text);
                }
            });
            socket.on('error', failed);
        });
    for (const text of [await fetched(), ...(await Promise.all([fetched(), fetched()]))]) {
        assert.match(text, /^HTTP\/1\.[01] 200 OK/);
    }
    listener.close();
}
