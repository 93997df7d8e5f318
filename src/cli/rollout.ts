/** `shoal prefetch` and `shoal rollout …`: commands to the origin, which does the work, also when nobody watches. */
import { duration, optional, rate, repeated, string, withDefault } from '#config';
import { PLATFORM } from '#orders';
import { defineCommand } from './command.ts';
import { EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED } from './exit.ts';
import { loginSwitches } from './login.ts';
import { type Asking, originUrlOptions, withManagement } from './management.ts';
import { imageOperand } from './pull.ts';
import { describe, hasEnded, isWhole, listTable, type RolloutView } from './rollout-view.ts';
import { follow } from './rollout-watch.ts';
import { formatTable } from './text.ts';

const DEADLINE_MS = 60_000;

const imageOptions = {
  nodes: withDefault(
    string('SELECTOR', 'a selector such as zone=eu1/*'),
    '*',
    "which nodes: zone=eu1/* (a zone and all in it), name=web-* (a node's name), id=12D3KooW…, * (all); a comma is 'or', & is 'and'",
  ),
  platform: repeated(
    string('OS/ARCH', 'a platform such as linux/amd64, or all', new RegExp(`^all$|${PLATFORM.source}`)),
    "images of a multi-platform index that are fetched; by default each node's own; all: every one",
  ),
} as const;

/** Prints what was begun, and follows it when that is wanted. */
async function begun(ask: Asking, view: RolloutView, has: (name: string) => boolean): Promise<number> {
  const json = has('json');
  if (!has('wait')) {
    process.stdout.write(
      json
        ? `${JSON.stringify(view)}\n`
        : `${view.id}  ${view.image}@${view.digest}\n${view.nodes.nodes} nodes in ${view.waveCount} waves; watch it with: shoal rollout status ${view.id} --watch\n`,
    );
    return EXIT_DONE;
  }
  return watch(ask, view.id, json);
}

async function watch(ask: Asking, id: string, json: boolean): Promise<number> {
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort();
  process.once('SIGINT', onInterrupt);
  const read = () => ask<RolloutView>('GET', `rollouts/${encodeURIComponent(id)}`);
  const last = await follow(read, process.stdout, json ? 'json' : 'text', stop.signal);
  process.off('SIGINT', onInterrupt);
  if (stop.signal.aborted) {
    process.stderr.write(
      `\nThe origin goes on with ${id}. Watch it: shoal rollout status ${id} --watch; end it: shoal rollout cancel ${id}\n`,
    );
    return EXIT_INTERRUPTED;
  }
  if (last === undefined) return EXIT_FAILED;
  if (!json && !process.stdout.isTTY) process.stdout.write(`${describe(last).join('\n')}\n`);
  if (last.state === 'stopped') {
    process.stderr.write(
      `It waits for your word: shoal rollout resume ${id}, or shoal rollout cancel ${id}\n`,
    );
  }
  return isWhole(last) ? EXIT_DONE : EXIT_FAILED;
}

const waiting = {
  wait: 'stay until it has ended, with progress; exit code 1 unless every node has the image. The origin goes on without us',
  json: 'machine-readable: the rollout as the API tells it, one object a line',
  ...loginSwitches,
} as const;

export const prefetch = defineCommand({
  name: 'prefetch',
  summary:
    'Tells nodes, by the origin, to fetch an image into their caches now. A node that is away does so when it is back, within the deadline',
  operands: 'REF',
  operandCount: [1, 1],
  options: {
    ...imageOptions,
    deadline: withDefault(duration, '24h', 'how long nodes that are away are waited for'),
    ...originUrlOptions,
  },
  switches: waiting,
  configFile: 'none',
  run: ({ values, operands, has }) =>
    withManagement({ url: values.url, values, has, deadlineMs: DEADLINE_MS }, async (ask) => {
      imageOperand(operands[0] ?? '');
      const view = await ask<RolloutView>('POST', 'prefetch', {
        image: operands[0],
        nodes: values.nodes,
        platforms: values.platform,
        deadlineSeconds: Math.max(1, Math.round(values.deadline / 1000)),
      });
      return begun(ask, view, has);
    }),
});

export const rolloutCreate = defineCommand({
  name: 'rollout create',
  summary:
    'Brings an image to nodes in waves. A wave begins when each node of the one before reports that it has verified the image, or is unavailable within the limit; the origin sees to it, also over its own restart',
  operands: 'REF',
  operandCount: [1, 1],
  options: {
    ...imageOptions,
    wave: withDefault(
      string('SIZES', 'sizes such as 10%,50%,100%', /^\d{1,6}%?(?:,\d{1,6}%?)*$/),
      '10%,50%,100%',
      'the waves: how many nodes (10%, or a number) are in by the end of each; the last is 100%',
    ),
    'max.unavailable': withDefault(
      string('N', 'a number of nodes or a share such as 10%', /^\d{1,6}%?$/),
      '10%',
      'how many nodes may fail or be away before the rollout stops; it waits then for resume or cancel',
    ),
    deadline: withDefault(duration, '1h', 'when it has failed if nodes still fetch; a pause does not count'),
    rate: optional(rate, 'most that all nodes of the rollout receive together; each has a share of it'),
    ...originUrlOptions,
  },
  switches: waiting,
  configFile: 'none',
  run: ({ values, operands, has }) =>
    withManagement({ url: values.url, values, has, deadlineMs: DEADLINE_MS }, async (ask) => {
      imageOperand(operands[0] ?? '');
      const view = await ask<RolloutView>('POST', 'rollouts', {
        image: operands[0],
        nodes: values.nodes,
        platforms: values.platform,
        waves: values.wave,
        maxUnavailable: values['max.unavailable'],
        deadlineSeconds: Math.max(1, Math.round(values.deadline / 1000)),
        ...(values.rate !== undefined && { bytesPerSecond: values.rate }),
      });
      return begun(ask, view, has);
    }),
});

export const rolloutStatus = defineCommand({
  name: 'rollout status',
  summary:
    'Shows how far a rollout or prefetch is: waves, zones, rate, what it saved, and who is slow and why',
  operands: 'ID',
  operandCount: [1, 1],
  options: originUrlOptions,
  switches: {
    watch: 'stay until it has ended or stopped',
    nodes: 'list every node',
    json: 'the rollout as the API tells it, as one JSON object; one a second with --watch',
    ...loginSwitches,
  },
  configFile: 'none',
  run: ({ values, operands, has }) =>
    withManagement({ url: values.url, values, has, deadlineMs: DEADLINE_MS }, async (ask) => {
      const id = operands[0] ?? '';
      if (has('watch')) return watch(ask, id, has('json'));
      const where = `rollouts/${encodeURIComponent(id)}?nodes=${has('nodes')}`;
      const view = await ask<RolloutView & { readonly eachNode?: RolloutView['slowest'] }>('GET', where);
      const text = has('json') ? JSON.stringify(view) : describe(view).join('\n');
      process.stdout.write(`${text}\n`);
      if (view.eachNode !== undefined && !has('json')) {
        const rows = view.eachNode.map(({ name, zone, state, reason }) => [
          name,
          zone ?? '-',
          state,
          reason ?? '',
        ]);
        process.stdout.write(`\n${formatTable(['node', 'zone', 'state', 'why'], rows, 4)}`);
      }
      return EXIT_DONE;
    }),
});

const command = (verb: 'pause' | 'resume' | 'cancel', summary: string) =>
  defineCommand({
    name: `rollout ${verb}`,
    summary,
    operands: 'ID',
    operandCount: [1, 1],
    options: originUrlOptions,
    switches: { json: 'the rollout as the API tells it, as one JSON object', ...loginSwitches },
    configFile: 'none',
    run: ({ values, operands, has }) =>
      withManagement({ url: values.url, values, has, deadlineMs: DEADLINE_MS }, async (ask) => {
        const view = await ask<RolloutView>(
          'POST',
          `rollouts/${encodeURIComponent(operands[0] ?? '')}/${verb}`,
        );
        process.stdout.write(has('json') ? `${JSON.stringify(view)}\n` : `${describe(view).join('\n')}\n`);
        return EXIT_DONE;
      }),
  });

export const rolloutPause = command(
  'pause',
  'Holds a rollout: nodes stop fetching and keep the pieces that they have; the deadline waits',
);
export const rolloutResume = command(
  'resume',
  'Goes on with a rollout that was paused or has stopped; nodes that failed try again',
);
export const rolloutCancel = command(
  'cancel',
  'Ends a rollout or prefetch for good; images that are complete stay in the caches',
);

const listing = (name: string, summary: string, ended: boolean) =>
  defineCommand({
    name: `rollout ${name}`,
    summary,
    operands: '',
    operandCount: [0, 0],
    options: originUrlOptions,
    switches: { json: 'one JSON object a rollout', ...loginSwitches },
    configFile: 'none',
    run: ({ values, has }) =>
      withManagement({ url: values.url, values, has, deadlineMs: DEADLINE_MS }, async (ask) => {
        const { rollouts } = await ask<{ readonly rollouts: RolloutView[] }>(
          'GET',
          `rollouts?ended=${ended}`,
        );
        const wanted = rollouts.filter((view) => hasEnded(view) === ended);
        const lines = wanted.map((view) => `${JSON.stringify(view)}\n`).join('');
        process.stdout.write(has('json') ? lines : wanted.length === 0 ? 'none\n' : listTable(wanted));
        return EXIT_DONE;
      }),
  });

export const rolloutList = listing('list', 'Lists the rollouts and prefetches that have not ended', false);
export const rolloutHistory = listing(
  'history',
  'Lists the rollouts and prefetches that have ended, the newest first',
  true,
);

export const rolloutNodes = defineCommand({
  name: 'rollout nodes',
  summary: 'Lists the nodes that an origin can give images to, and what selectors see of them',
  operands: '',
  operandCount: [0, 0],
  options: originUrlOptions,
  switches: { json: 'one JSON object a node', ...loginSwitches },
  configFile: 'none',
  run: ({ values, has }) =>
    withManagement({ url: values.url, values, has, deadlineMs: DEADLINE_MS }, async (ask) => {
      type Node = Readonly<Record<'id' | 'name' | 'state' | 'lastSeen', string>> & {
        readonly zone: string | null;
      };
      const { nodes } = await ask<{ readonly nodes: readonly Node[] }>('GET', 'nodes');
      const rows = nodes.map(({ name, zone, state, lastSeen, id }) => [
        name,
        zone ?? '-',
        state,
        lastSeen.slice(0, 19),
        id,
      ]);
      process.stdout.write(
        has('json')
          ? nodes.map((node) => `${JSON.stringify(node)}\n`).join('')
          : formatTable(['name', 'zone', 'state', 'last seen (UTC)', 'id'], rows, 5),
      );
      return EXIT_DONE;
    }),
});
