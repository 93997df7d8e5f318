import { optional, path, url, withDefault } from '#config';
import type { LazyReport, ManifestReport, PullReport, ServeReport } from '#daemon';
import { formatImageReference, OciError, parseDigest } from '#oci';
import { defineCommand } from './command.ts';
import { UsageError } from './errors.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { distinct } from './image.ts';
import { type Login, loginOptions, loginSwitches } from './login.ts';
import { withManagement } from './management.ts';
import { imageOperand, platform } from './pull.ts';
import { fetchImage, openRegistry } from './registry.ts';
import { formatBytes, formatTable } from './text.ts';

const DEADLINE_MS = 10_000;

/** What /api/v1/pulls of an agent tells; agents of earlier versions tell less. */
interface Accounts {
  readonly pulls: readonly Pull[];
  readonly serves: readonly ServeReport[];
  readonly lazyReads?: readonly LazyReport[];
  readonly manifests: readonly ManifestReport[];
}

type Later = 'transferMsBySource' | 'writingMs';
type Pull = Omit<PullReport, Later> & Partial<Pick<PullReport, Later>>;
type Told = Required<Accounts>;

export const explainPulls = defineCommand({
  name: 'explain',
  summary:
    "Shows where the seconds and bytes of an agent's last blob fetches went: of the blobs of the image REF " +
    '(its manifest is asked of the agent), of the blob DIGEST, or of all',
  operands: '[REF|DIGEST]',
  operandCount: [0, 1],
  options: {
    agent: withDefault(url, 'http://127.0.0.1:5001', 'URL of the agent'),
    platform,
    'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
    ...loginOptions,
  },
  switches: { json: 'one JSON object a fetch, answer or manifest, as the agent tells it', ...loginSwitches },
  configFile: 'none',
  run: ({ values, operands, has }) => {
    const agent = { url: values.agent, values, has, deadlineMs: DEADLINE_MS, program: 'an agent' };
    return withManagement(agent, async (ask, login) => {
      // What this command asks for itself is no pull.
      const began = new Date().toISOString();
      const asked = await subjectOf(operands[0], values, login);
      const answer = await ask<Accounts>('GET', 'pulls');
      const wanted = ({ digest }: { readonly digest: string }): boolean =>
        asked === undefined || asked.digests.has(digest);
      const pulls = answer.pulls.filter(wanted);
      const serves = answer.serves.filter(wanted);
      const lazyReads = (answer.lazyReads ?? []).filter(wanted);
      const manifests = answer.manifests.filter(
        ({ digest, startedAt }) => startedAt < began && (asked === undefined || digest === asked.manifest),
      );
      if (asked?.image !== undefined && !has('json')) {
        const fetched = new Set(pulls.map(({ digest }) => digest)).size;
        process.stdout.write(
          `${asked.image}: fetches of ${fetched} of its ${asked.digests.size} blobs are remembered\n${slowestOf(pulls)}\n`,
        );
      }
      const told = { pulls, serves, lazyReads, manifests };
      process.stdout.write(has('json') ? jsonLines(told) : describeAll(told));
      if (pulls.length + serves.length + lazyReads.length > 0) return EXIT_DONE;
      process.stderr.write(
        'The agent remembers no such fetch: it is too long ago, or the agent restarted since.\n',
      );
      return EXIT_FAILED;
    });
  },
});

/** One line: an image is as slow as the slowest of its blobs. */
function slowestOf(pulls: readonly Pull[]): string {
  const [first] = pulls.toSorted((a, b) => b.wallMs - a.wallMs);
  if (!first) return '';
  return `the slowest: ${shortDigest(first.digest)}, ${first.wallMs} ms, most of it ${first.slowest}\n`;
}

const shortDigest = (digest: string): string => digest.slice(0, digest.indexOf(':') + 13);

/** The blobs that the operand names; undefined for all. */
async function subjectOf(
  operand: string | undefined,
  values: {
    readonly agent: string;
    readonly platform: string;
    readonly 'ca.file'?: string | undefined;
  },
  login: Login,
): Promise<
  { readonly image?: string; readonly manifest?: string; readonly digests: ReadonlySet<string> } | undefined
> {
  if (operand === undefined) return undefined;
  if (/^sha(?:256|512):/.test(operand)) return { digests: new Set([blobOperand(operand)]) };
  const image = imageOperand(operand);
  const registry = await openRegistry(values.agent, { caFile: values['ca.file'], login });
  try {
    const { manifest, digest: name } = await fetchImage(
      registry,
      image,
      values.platform,
      AbortSignal.timeout(DEADLINE_MS),
    );
    const digests = distinct(manifest.blobs).map(({ digest }) => digest);
    return { image: formatImageReference(image), manifest: name, digests: new Set(digests) };
  } finally {
    await registry.close();
  }
}

/** The blobs that an image reference or a digest names. */
export async function digestsOf(
  operand: string,
  values: Parameters<typeof subjectOf>[1],
  login: Login,
): Promise<readonly string[]> {
  return [...((await subjectOf(operand, values, login))?.digests ?? [])];
}

/** A bad one is a mistake on the command line, not a failure. */
function blobOperand(text: string): string {
  try {
    return parseDigest(text);
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
    throw new UsageError(error.message);
  }
}

function jsonLines({ pulls, serves, lazyReads, manifests }: Told): string {
  const lines = [
    ...pulls.map((pull) => ({ kind: 'fetch', ...pull })),
    ...serves.map((serve) => ({ kind: 'serve', ...serve })),
    ...lazyReads.map((read) => ({ kind: 'lazy', ...read })),
    ...manifests.map((manifest) => ({ kind: 'manifest', ...manifest })),
  ];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

function describeAll({ pulls, serves, lazyReads, manifests }: Told): string {
  const manifestRows = manifests.map((entry) => [
    `${entry.repository} ${entry.reference}`,
    entry.startedAt,
    `${entry.wallMs} ms`,
    entry.stale ? 'no origin answered' : '',
  ]);
  const serveRows = serves.map((serve) => [
    shortDigest(serve.digest),
    serve.from,
    formatBytes(serve.bytes),
    `${serve.wallMs} ms`,
    serve.slowest,
  ]);
  const lazyRows = lazyReads.map((read) => [
    shortDigest(read.digest),
    ...[String(read.reads), String(read.fromMemory), formatBytes(read.bytes)],
    ...[`${(read.wallMs / read.reads).toFixed(1)} ms`, `${read.longestMs} ms`],
  ]);
  return [
    ...(manifestRows.length > 0
      ? [`manifests\n${formatTable(['manifest', 'asked for', 'time', ''], manifestRows)}`]
      : []),
    ...pulls.map((pull) => describePull(pull)),
    ...(serveRows.length > 0
      ? [`what clients got\n${formatTable(['blob', 'from', 'bytes', 'time', 'slowest'], serveRows)}`]
      : []),
    ...(lazyRows.length > 0
      ? [
          `what clients read lazily, in small ranges\n${formatTable(['blob', 'reads', 'from memory', 'bytes', 'mean', 'longest'], lazyRows)}`,
        ]
      : []),
  ]
    .map((part) => `${part}\n`)
    .join('');
}

function describePull(pull: Pull): string {
  const seconds = Object.entries(pull.phasesMs).map(([phase, ms]) => [phase, `${ms} ms`]);
  const bytes = Object.entries(pull.bytesBySource)
    .filter(([, count]) => count > 0)
    .map(([source, count]) => {
      const ms = pull.transferMsBySource?.[source as keyof typeof pull.transferMsBySource];
      return [`from ${source}`, `${formatBytes(count)}${ms ? `, ${ms} ms of the transfer` : ''}`];
    });
  const rows = [...seconds, ['all', `${pull.wallMs} ms`]];
  if (pull.writingMs !== undefined) rows.push(['writing to the disk, meanwhile', `${pull.writingMs} ms`]);
  rows.push(...bytes);
  if (pull.size !== null) rows.push(['size', formatBytes(pull.size)]);
  for (const peer of pull.topPeers) rows.push([`by ${peer.role} ${peer.address}`, formatBytes(peer.bytes)]);
  return [
    `${pull.digest} of ${pull.repository}, ${pull.startedAt}: ${pull.state}`,
    ...(pull.error === null ? [] : [`reason: ${pull.error}`]),
    `slowest: ${pull.slowest}`,
    formatTable(['what', 'share'], rows),
  ].join('\n');
}
