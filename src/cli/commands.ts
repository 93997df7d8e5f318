/** The commands, in the order of help. Each file is loaded only when its command runs. */
import type { Command } from './command.ts';

export interface Entry {
  readonly name: string;
  readonly line: string;
  readonly load: () => Promise<Command>;
}

export const commands: readonly Entry[] = [
  {
    name: 'up',
    line: 'origin, tracker and three agents on this machine, tried with a sample image',
    load: async () => (await import('./up.ts')).up,
  },
  {
    name: 'origin',
    line: 'run the origin: registry, seeds and tracker',
    load: async () => (await import('./origin.ts')).origin,
  },
  {
    name: 'origin scrub',
    line: 'check every blob and reference of a running origin, and repair from the swarm',
    load: async () => (await import('./origin-scrub.ts')).originScrub,
  },
  {
    name: 'origin gc',
    line: 'collect garbage on a running origin now, or say what would go',
    load: async () => (await import('./origin-gc.ts')).originGc,
  },
  {
    name: 'cluster init',
    line: "make the key of a new cluster in its first origin's data folder",
    load: async () => (await import('./cluster-key.ts')).clusterInit,
  },
  {
    name: 'cluster join-token',
    line: 'print a token with which agents and trackers join the cluster',
    load: async () => (await import('./cluster-key.ts')).clusterJoinToken,
  },
  {
    name: 'cluster members',
    line: 'list the members that a running origin knows',
    load: async () => (await import('./cluster-members.ts')).clusterMembers,
  },
  {
    name: 'cluster revoke',
    line: "end a member's place in the cluster, or a join token's use",
    load: async () => (await import('./cluster-members.ts')).clusterRevoke,
  },
  {
    name: 'tracker',
    line: 'run a tracker alone',
    load: async () => (await import('./tracker.ts')).tracker,
  },
  {
    name: 'agent',
    line: 'run the agent of a compute node',
    load: async () => (await import('./agent.ts')).agent,
  },
  {
    name: 'pull',
    line: 'fetch an image through an agent',
    load: async () => (await import('./pull.ts')).pull,
  },
  {
    name: 'prefetch',
    line: 'have nodes fetch an image into their caches ahead of its use',
    load: async () => (await import('./rollout.ts')).prefetch,
  },
  {
    name: 'rollout create',
    line: 'bring an image to many nodes in waves',
    load: async () => (await import('./rollout.ts')).rolloutCreate,
  },
  {
    name: 'rollout status',
    line: 'show how far a rollout is, and who is slow and why',
    load: async () => (await import('./rollout.ts')).rolloutStatus,
  },
  {
    name: 'rollout pause',
    line: 'hold a rollout',
    load: async () => (await import('./rollout.ts')).rolloutPause,
  },
  {
    name: 'rollout resume',
    line: 'go on with a rollout that was paused or has stopped',
    load: async () => (await import('./rollout.ts')).rolloutResume,
  },
  {
    name: 'rollout cancel',
    line: 'end a rollout for good',
    load: async () => (await import('./rollout.ts')).rolloutCancel,
  },
  {
    name: 'rollout list',
    line: 'list the rollouts that run',
    load: async () => (await import('./rollout.ts')).rolloutList,
  },
  {
    name: 'rollout history',
    line: 'list the rollouts that have ended',
    load: async () => (await import('./rollout.ts')).rolloutHistory,
  },
  {
    name: 'rollout nodes',
    line: 'list the nodes that an origin can give images to',
    load: async () => (await import('./rollout.ts')).rolloutNodes,
  },
  {
    name: 'torrent',
    line: 'write the .torrent files of an image or a blob',
    load: async () => (await import('./torrent.ts')).torrent,
  },
  {
    name: 'status',
    line: 'show what origins and agents hold and do',
    load: async () => (await import('./status.ts')).status,
  },
  {
    name: 'swarm',
    line: 'show who has a blob, who downloads it, and how fast',
    load: async () => (await import('./swarm.ts')).swarm,
  },
  {
    name: 'explain',
    line: "show where the seconds and bytes of an agent's fetches went",
    load: async () => (await import('./explain.ts')).explainPulls,
  },
  {
    name: 'report',
    line: 'show bytes by source, image and day, and what the swarm saved',
    load: async () => (await import('./report.ts')).report,
  },
  {
    name: 'limits',
    line: 'show or set the rates of a running agent, and tell it of a rollout',
    load: async () => (await import('./limits.ts')).limits,
  },
  {
    name: 'cache ls',
    line: "list the blobs of an agent's cache",
    load: async () => (await import('./cache.ts')).cacheLs,
  },
  {
    name: 'cache pin',
    line: 'keep the blobs of an image in the cache, whatever is evicted',
    load: async () => (await import('./cache.ts')).cachePin,
  },
  {
    name: 'cache unpin',
    line: 'let them be evicted again',
    load: async () => (await import('./cache.ts')).cacheUnpin,
  },
  {
    name: 'cache rm',
    line: 'remove blobs from the cache now',
    load: async () => (await import('./cache.ts')).cacheRm,
  },
  {
    name: 'node setup',
    line: 'make containerd, CRI-O or podman pull through the agent; --undo takes it back',
    load: async () => (await import('./node-setup.ts')).nodeSetup,
  },
  {
    name: 'node doctor',
    line: 'find what is wrong on this node, and how to mend it',
    load: async () => (await import('./node-doctor.ts')).nodeDoctor,
  },
  {
    name: 'config',
    line: 'print the merged configuration and where each value is from',
    load: async () => (await import('./config.ts')).config,
  },
];

/** The text of `shoal --help`. */
export function overview(): string {
  const width = Math.max(...commands.map((command) => command.name.length));
  return [
    'Usage: shoal COMMAND [flags]',
    '',
    'Shoal distributes container images peer to peer.',
    '',
    'Commands:',
    ...commands.map((command) => `  ${command.name.padEnd(width)}  ${command.line}`),
    '',
    "'shoal COMMAND --help' shows a command's flags; 'shoal --version' the version.",
    '',
  ].join('\n');
}
