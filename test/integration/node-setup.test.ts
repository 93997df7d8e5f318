/** Set-up of a node's clients on root folders with configuration of its own: written, written again, taken back. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { parse } from 'smol-toml';
import t, { type Test } from 'tap';
import {
  diffOf,
  openTree,
  planContainerd,
  planRegistries,
  planSetup,
  planUndo,
  type Setup,
  type Wanted,
} from '#daemon/node';
import { needs } from '../support/debian.ts';
import { runShoal } from '../support/shoal.ts';

const AGENT = 'http://127.0.0.1:5001';
const MAIN = '/etc/containerd/config.toml';

/** Every file below a folder: content, mode, owner. */
function snapshot(root: string, below = ''): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(path.join(root, below), { withFileTypes: true })) {
    const name = path.join(below, entry.name);
    const { mode, uid, gid } = lstatSync(path.join(root, name));
    const identity = `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
    if (entry.isSymbolicLink()) found[name] = readlinkSync(path.join(root, name));
    else if (entry.isDirectory()) Object.assign(found, { [`${name}/`]: identity }, snapshot(root, name));
    else found[name] = `${identity} ${readFileSync(path.join(root, name)).toString('base64')}`;
  }
  return found;
}

function planned(
  root: string,
  client: 'containerd' | 'podman',
  wanted: Partial<Wanted> = {},
  force = false,
): Promise<Setup> {
  const all: Wanted = { agent: AGENT, registries: 'all', ...wanted };
  return planSetup({
    tree: openTree(root),
    subject: client,
    force,
    plan: (view) =>
      client === 'containerd' ? planContainerd(view, MAIN, all) : planRegistries(view, 'podman', all),
  });
}

function write(root: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    writeFileSync(path.join(root, name), text);
  }
  mkdirSync(path.join(root, 'var/lib'), { recursive: true });
}

/** Set up twice, looked at in between, and taken back: the second changes nothing, the end is the beginning. */
async function thereAndBack(
  t: Test,
  root: string,
  client: 'containerd' | 'podman',
  look: (read: (file: string) => string, setup: Setup) => void | Promise<void>,
  wanted: Partial<Wanted> = {},
): Promise<void> {
  const before = snapshot(root);
  const setup = await planned(root, client, wanted);
  t.strictSame(snapshot(root), before, 'planning writes nothing');
  t.ok(setup.changes.length > 0 && diffOf(setup.changes).includes('+++ '), 'there is something to do');
  await setup.apply();
  await look((file) => readFileSync(path.join(root, file), 'utf8'), setup);
  const between = snapshot(root);
  const again = await planned(root, client, wanted);
  t.strictSame(again.changes, [], 'the second time there is nothing to do');
  await again.apply();
  t.strictSame(snapshot(root), between, 'and nothing is written');
  const undo = await planUndo(openTree(root), client);
  await undo.apply();
  t.strictSame(snapshot(root), before, 'every file as before, to the byte, with mode and owner');
  t.strictSame((await planUndo(openTree(root), client)).changes, [], 'undone once is undone');
}

t.test("Debian's own configuration of containerd and podman", async (t) => {
  await needs(t, ['containerd', 'podman', 'golang-github-containers-common']);
  const root = t.testdir();
  mkdirSync(path.join(root, 'etc'));
  mkdirSync(path.join(root, 'var/lib'), { recursive: true });
  for (const folder of ['containerd', 'containers'])
    cpSync(`/etc/${folder}`, path.join(root, 'etc', folder), { recursive: true });
  await thereAndBack(t, root, 'containerd', (read, setup) => {
    t.match(parse(read(MAIN)), {
      plugins: { 'io.containerd.grpc.v1.cri': { registry: { config_path: '/etc/containerd/certs.d' } } },
    });
    t.equal(setup.restart, 'systemctl restart containerd');
    const accepted = spawnSync('containerd', ['--config', path.join(root, MAIN), 'config', 'dump']);
    t.match(accepted.stdout.toString(), /config_path = "\/etc\/containerd\/certs\.d"/, 'containerd reads it');
  });
  await thereAndBack(t, root, 'podman', (read, setup) => {
    const { registry } = parse(read('/etc/containers/registries.conf.d/50-shoal.conf'));
    t.match(
      (registry as { prefix: string }[]).find(({ prefix }) => prefix === 'docker.io'),
      {
        mirror: [{ location: '127.0.0.1:5001/docker.io', insecure: true }],
      },
    );
    t.equal(setup.restart, undefined, 'read at each pull');
  });
});

t.test('containerd 2: version 3, imports, a list of folders, mirrors that are there', async (t) => {
  const root = t.testdir();
  write(root, {
    [MAIN]:
      'version = 3\nimports = ["conf.d/*.toml"]\n[plugins."io.containerd.cri.v1.images"]\n  snapshotter = "native"\n',
    '/etc/containerd/conf.d/10-a.toml':
      'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "/etc/one:/etc/two"\n',
    '/etc/containerd/conf.d/README': 'not imported: = [\n',
    '/etc/one/docker.io/hosts.toml':
      'server = "https://registry-1.docker.io"\n\n# ours since 2020\n[host."https://mirror.test"]\n  capabilities = ["pull"]\n',
    '/etc/one/corp.test_5000_/ca.crt': 'a certificate\n',
    '/etc/two/quay.io/hosts.toml': 'server = "https://quay.io"\n',
  });
  chmodSync(path.join(root, '/etc/one/docker.io/hosts.toml'), 0o640);
  await thereAndBack(t, root, 'containerd', (read, setup) => {
    const changed = setup.changes.map((change) => change.path).sort();
    t.strictSame(changed, [
      '/etc/one/docker.io/hosts.toml',
      '/etc/two/_default/hosts.toml',
      '/etc/two/quay.io/hosts.toml',
    ]);
    const { host } = parse(read('/etc/one/docker.io/hosts.toml'));
    t.strictSame(Object.keys(host ?? {}), [AGENT, 'https://mirror.test'], 'ours first, theirs kept');
    t.match(read('/etc/one/docker.io/hosts.toml'), /\n# ours since 2020\n\[host\."https:\/\/mirror\.test"\]/);
    t.equal(statSync(path.join(root, '/etc/one/docker.io/hosts.toml')).mode & 0o777, 0o640);
    t.equal(setup.restart, undefined, 'config_path was set before');
    t.match(setup.notes, [/corp\.test_5000_ is not mirrored/]);
  });
  write(root, {
    '/etc/containerd/conf.d/20-b.toml':
      'version = 3\n[plugins."io.containerd.cri.v1.images"]\n  snapshotter = "x"\n',
  });
  await thereAndBack(t, root, 'containerd', (read) => {
    t.match(
      parse(read('/etc/containerd/conf.d/20-b.toml')),
      {
        plugins: {
          'io.containerd.cri.v1.images': { snapshotter: 'x', registry: { config_path: '/etc/one:/etc/two' } },
        },
      },
      'the last file that has the section replaces the whole of it, so it must say it too',
    );
  });
});

t.test('a node without configuration, one of version 1, one that is a symbolic link', async (t) => {
  const bare = t.testdir({ var: { lib: {} } });
  await thereAndBack(t, bare, 'containerd', (read) => {
    t.match(parse(read(MAIN)), { version: 2, plugins: { 'io.containerd.grpc.v1.cri': { registry: {} } } });
  });
  await thereAndBack(t, bare, 'podman', () => undefined, { registries: ['registry.test:5000'] });
  write(bare, { [MAIN]: '[plugins.cri]\n  stream_server_port = "0"\n' });
  await thereAndBack(t, bare, 'containerd', (read) => {
    t.match(parse(read(MAIN)), {
      plugins: { cri: { registry: { config_path: '/etc/containerd/certs.d' } } },
    });
  });
  const linked = t.testdir();
  write(linked, { '/usr/share/c.toml': 'version = 2\n' });
  mkdirSync(path.join(linked, 'etc/containerd'), { recursive: true });
  symlinkSync('/usr/share/c.toml', path.join(linked, MAIN));
  await thereAndBack(t, linked, 'containerd', (read) => {
    t.match(read('/usr/share/c.toml'), 'config_path');
  });
});

t.test('chosen registries; then others: what is not asked for any more goes', async (t) => {
  const root = t.testdir();
  write(root, {
    [MAIN]: 'version = 2\n',
    '/etc/containerd/certs.d/_default/hosts.toml': '[host."https://theirs.test"]\n',
  });
  const before = snapshot(root);
  await (await planned(root, 'containerd', { registries: ['docker.io', 'registry.test:5000'] })).apply();
  const one = path.join(root, '/etc/containerd/certs.d/registry.test:5000/hosts.toml');
  t.strictSame(
    Object.keys(parse(readFileSync(one, 'utf8'))['host'] ?? {}),
    [AGENT, 'https://theirs.test'],
    'their _default is hidden by the new folder, so it is taken over',
  );
  await (await planned(root, 'containerd', { registries: ['quay.io'], agent: 'http://127.0.0.1:7' })).apply();
  t.strictSame(readdirSync(path.join(root, '/etc/containerd/certs.d')).sort(), ['_default', 'quay.io']);
  await (await planUndo(openTree(root), 'containerd')).apply();
  t.strictSame(snapshot(root), before);
});

t.test("podman's own entries are taken over, narrower ones too; blocked ones stay", async (t) => {
  const root = t.testdir();
  write(root, {
    '/etc/containers/registries.conf':
      'unqualified-search-registries = ["corp.test"]\n[[registry]]\nlocation = "docker.io"\n[[registry.mirror]]\nlocation = "mirror.test/hub"\n[[registry]]\nprefix = "docker.io/team"\nlocation = "corp.test:5000/team"\ninsecure = true\n[[registry]]\nlocation = "quay.io"\nblocked = true\n',
    '/etc/containers/registries.conf.d/60-more.conf': '[[registry]]\nlocation = "ghcr.io"\n',
  });
  await thereAndBack(t, root, 'podman', (read, setup) => {
    const { registry } = parse(read('/etc/containers/registries.conf.d/zz-shoal.conf')) as {
      registry: { prefix: string; location: string; insecure?: boolean; mirror: { location: string }[] }[];
    };
    const of = (prefix: string) => registry.find((entry) => entry.prefix === prefix);
    t.strictSame(
      of('docker.io')?.mirror.map(({ location }) => location),
      ['127.0.0.1:5001/docker.io', 'mirror.test/hub'],
    );
    t.match(of('docker.io/team'), {
      location: 'corp.test:5000/team',
      insecure: true,
      mirror: [{ location: '127.0.0.1:5001/corp.test_5000/team' }],
    });
    t.ok(of('corp.test'), 'a registry that the node names');
    t.equal(of('quay.io'), undefined);
    t.match(setup.notes.join('\n'), /quay\.io is not mirrored: it is blocked/);
  });
  write(root, { '/etc/containers/registries.conf': '[registries.search]\nregistries = ["docker.io"]\n' });
  await t.rejects(planned(root, 'podman'), /old format/);
});

t.test('what cannot be done safely is refused with the way out', async (t) => {
  const root = t.testdir();
  write(root, {
    [MAIN]:
      'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\n  endpoint = ["https://m"]\n',
  });
  await t.rejects(
    planned(root, 'containerd'),
    /sets registry\.mirrors, with which containerd takes no config_path/,
  );
  write(root, { [MAIN]: 'version = 2\n[[[\n' });
  await t.rejects(planned(root, 'containerd'), /config\.toml:2 is not valid TOML/);
  write(root, { [MAIN]: `version = 2\nplugins = { "io.containerd.grpc.v1.cri" = { registry = {} } }\n` });
  await t.rejects(planned(root, 'containerd'), /by hand/);
  t.notOk(readdirSync(path.join(root, 'var/lib')).length, 'nothing was begun');
});

t.test('what the operator changed since is not overwritten unasked', async (t) => {
  const root = t.testdir();
  write(root, { [MAIN]: 'version = 2\n' });
  const before = snapshot(root);
  await (await planned(root, 'containerd')).apply();
  const hosts = path.join(root, '/etc/containerd/certs.d/_default/hosts.toml');
  const edited = `${readFileSync(hosts, 'utf8')}# a note\n`;
  writeFileSync(hosts, edited);
  t.strictSame((await planned(root, 'containerd')).changes, [], 'the change does no harm');
  await t.rejects(planned(root, 'containerd', { agent: 'http://127.0.0.1:7' }), /was changed since/);
  await t.rejects(
    planUndo(openTree(root), 'containerd'),
    /_default\/hosts\.toml was changed since the set-up: --undo --force/,
  );
  const undo = await planUndo(openTree(root), 'containerd', true);
  await undo.apply();
  const [saved = ''] = undo.saved;
  t.equal(readFileSync(path.join(root, saved), 'utf8'), edited, 'and is kept beside');
  t.equal(readFileSync(path.join(root, MAIN), 'utf8'), 'version = 2\n');
  t.ok(before[MAIN.slice(1)], 'the snapshot had it');
});

t.test('a set-up that was killed half-way is finished, or taken back', async (t) => {
  const root = t.testdir();
  write(root, { [MAIN]: 'version = 2\n' });
  const before = snapshot(root);
  // The manifest is written, one of two files is not.
  await (await planned(root, 'containerd')).apply();
  const half = (): void => writeFileSync(path.join(root, MAIN), 'version = 2\n');
  half();
  const setup = await planned(root, 'containerd');
  t.strictSame(
    setup.changes.map((change) => change.path),
    [MAIN],
  );
  await setup.apply();
  half();
  await (await planUndo(openTree(root), 'containerd')).apply();
  t.strictSame(snapshot(root), before);
});

t.test('the command: a diff, an exit code, a word on the restart', async (t) => {
  const root = t.testdir();
  write(root, { [MAIN]: 'version = 2\n' });
  const before = snapshot(root);
  const command = (...flags: string[]) => runShoal(['node', 'setup', 'containerd', '--root', root, ...flags]);
  const dry = await command('--dry-run');
  t.match(dry, {
    code: 0,
    stdout: /^--- \/etc\/containerd\/config\.toml\n\+\+\+ .*\n@@ [^\n]* @@\n version = 2\n\+\n\+\[plugins/,
  });
  t.strictSame(snapshot(root), before, '--dry-run writes nothing');
  t.match(await command(), {
    code: 0,
    stdout: /wrote .*config\.toml\n(?:.*\n)*Now run: systemctl restart containerd\n$/,
  });
  t.match(await command(), { code: 0, stdout: 'No change: containerd is set up.\n' });
  t.match(await command('--undo', '--json'), { code: 0, stdout: /"restart":"systemctl restart containerd"/ });
  t.strictSame(snapshot(root), before);
  t.match(await command('--undo', '--all'), { code: 2, stderr: /leave --all and --registry out/ });
  t.match(await command('--check', 'a:b'), { code: 2, stderr: /cannot be used with --root/ });
  t.match(await runShoal(['node', 'setup', 'docker']), { code: 2, stderr: /'docker' is no client/ });
});
