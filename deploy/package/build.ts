/**
 * `npm run package [-- --out DIR]`: a .deb and a tarball of this tree, with the Node runtime and the production dependencies of
 * the lock file inside. Needs npm, tar and dpkg-deb; the target needs nothing but libc and libstdc++.
 */
import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { conffiles, control, maintainerScripts } from './debian.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const here = fileURLToPath(new URL('.', import.meta.url));
/** What runs, and what its user reads. */
const CONTENT = [
  'bin',
  'src',
  'origin',
  'tracker',
  'daemon',
  'systemd',
  'docs',
  'README.md',
  'CHANGELOG.md',
  'LICENSE',
  'package.json',
] as const;
/**
 * Of dependencies: files that nothing runs. dpkg syncs each file, so that their number is the time of an installation. Node runs no
 * TypeScript below node_modules. Licences stay, also those that are called LICENSE.md.
 */
const CHAFF =
  /\.(?:[cm]?ts|[cm]?[jt]s\.map|hh?|hpp|c|cc|cpp|gypi?|wat)$|^(?:readme|changelog|history|contributing|upgrading)(?:\.(?:md|markdown|txt))?$/i;
/** Prebuilt for other systems. */
const FOREIGN = /^(?:android|darwin|freebsd|win32)-/;
const PROGRAMS = ['agent', 'origin', 'tracker'] as const;
const MAX_OUTPUT = 64 * 1024 * 1024;

const { values } = parseArgs({ options: { out: { type: 'string', default: 'dist' } } });
const out = path.resolve(values.out);
const { version } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as {
  version: string;
};
const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
const epoch = (
  await run('git', ['-C', root, 'log', '-1', '--format=%ct']).catch(() => undefined)
)?.stdout.trim();
const env = { ...process.env, SOURCE_DATE_EPOCH: epoch ?? '0' };

await mkdir(out, { recursive: true });
const work = await mkdtemp(path.join(os.tmpdir(), 'shoal-package-'));
try {
  const image = path.join(work, 'image');
  const program = path.join(image, 'opt/shoal');
  await stageProgram(program);
  const tarball = path.join(out, `shoal-${version}-linux-${process.arch}.tar.gz`);
  const owner = [
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--sort=name',
    `--mtime=@${env.SOURCE_DATE_EPOCH}`,
  ];
  const renamed = `--transform=s,^shoal,shoal-${version},`;
  await run('tar', ['-C', path.dirname(program), ...owner, renamed, '-czf', tarball, 'shoal'], { env });
  await stageSystem(image);
  await stageControl(image);
  const deb = path.join(out, `shoal_${version}_${architecture}.deb`);
  await run('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z6', '--build', image, deb], { env });
  for (const file of [deb, tarball]) {
    process.stdout.write(`${file} (${Math.round((await stat(file)).size / 1e6)} MB)\n`);
  }
} finally {
  await rm(work, { recursive: true, force: true });
}

async function stageProgram(program: string): Promise<void> {
  await mkdir(program, { recursive: true });
  for (const name of CONTENT) await cp(path.join(root, name), path.join(program, name), { recursive: true });
  for (const name of ['package-lock.json', '.npmrc'])
    await cp(path.join(root, name), path.join(program, name));
  const install = ['ci', '--omit=dev', '--prefer-offline', '--no-audit', '--no-fund'];
  await run('npm', install, { cwd: program, maxBuffer: MAX_OUTPUT });
  for (const name of ['package-lock.json', '.npmrc', 'node_modules/.package-lock.json']) {
    await rm(path.join(program, name), { force: true });
  }
  await prune(path.join(program, 'node_modules'));
  await chmod(program, 0o755);
}

async function prune(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const at = path.join(folder, entry.name);
    if (entry.isDirectory() && FOREIGN.test(entry.name) && path.basename(folder) === 'prebuilds') {
      await rm(at, { recursive: true });
    } else if (entry.isDirectory()) await prune(at);
    else if (CHAFF.test(entry.name)) await rm(at);
  }
}

/** What the system looks for in its own places. */
async function stageSystem(image: string): Promise<void> {
  const units = path.join(image, 'usr/lib/systemd/system');
  await mkdir(units, { recursive: true });
  for (const name of await readdir(path.join(root, 'systemd'))) {
    if (/^shoal-.*\.(?:service|socket)$/.test(name))
      await cp(path.join(root, 'systemd', name), path.join(units, name));
  }
  for (const [file, folder] of [
    ['sysusers.conf', 'usr/lib/sysusers.d'],
    ['tmpfiles.conf', 'usr/lib/tmpfiles.d'],
  ] as const) {
    await mkdir(path.join(image, folder), { recursive: true });
    await cp(path.join(root, 'systemd', file), path.join(image, folder, 'shoal.conf'));
  }
  await mkdir(path.join(image, 'usr/bin'), { recursive: true });
  await symlink('../../opt/shoal/bin/shoal', path.join(image, 'usr/bin/shoal'));
  const etc = path.join(image, 'etc/shoal');
  await mkdir(etc, { recursive: true });
  for (const name of PROGRAMS) await cp(path.join(here, `${name}.yaml`), path.join(etc, `${name}.yaml`));
}

async function stageControl(image: string): Promise<void> {
  const folder = path.join(image, 'DEBIAN');
  await mkdir(folder);
  const { stdout } = await run('du', ['-sk', image]);
  const kib = Number(stdout.split('\t')[0]);
  await writeFile(path.join(folder, 'control'), control({ version, architecture, kib }));
  await writeFile(path.join(folder, 'conffiles'), conffiles(PROGRAMS));
  for (const [name, text] of Object.entries(maintainerScripts(PROGRAMS))) {
    await writeFile(path.join(folder, name), text);
    await chmod(path.join(folder, name), 0o755);
  }
}
