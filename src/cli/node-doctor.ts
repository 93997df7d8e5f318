import { existsSync } from 'node:fs';
import { withCredentials } from '#auth';
import { ConfigError, oneOf, path, repeated, resolveOptions, withDefault } from '#config';
import { examine, type Finding, type NodeClient, openTree } from '#daemon/node';
import { agentConfig, agentOptions } from '#daemon/options';
import { createHttpClient, formatHostPort } from '#http';
import manifest from '#package' with { type: 'json' };
import { defineCommand } from './command.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { containerdConfigOption } from './node-setup.ts';

const PACKAGED_CONFIG = '/etc/shoal/agent.yaml';
const PACKAGED_DATA = '/var/lib/shoal/agent';
const CONNECT_MS = 5_000;

export const nodeDoctor = defineCommand({
  name: 'node doctor',
  summary:
    'Finds what is wrong on this node and says how to mend it: agent and port, container clients, origins, ' +
    `certificates, clock, tracker, other agents, disk and rights. It reads the agent's configuration, by default ${PACKAGED_CONFIG}. Exit code 1 when something is wrong`,
  operands: '',
  operandCount: [0, 0],
  options: {
    client: repeated(
      oneOf('containerd', 'crio', 'podman'),
      'a client that must pull through the agent; by default each that is installed',
    ),
    root: withDefault(path, '/', "folder that the clients' configuration is below"),
    'containerd.config': containerdConfigOption,
  },
  switches: { json: 'one JSON object a finding: check, state (ok, wrong, unknown), text, cure' },
  configFile: 'other',
  run: async ({ values, configFile, has }) => {
    const findings = await look(
      values,
      configFile ?? (existsSync(PACKAGED_CONFIG) ? PACKAGED_CONFIG : undefined),
    );
    const wrong = findings.filter(({ state }) => state === 'wrong').length;
    if (has('json')) {
      for (const finding of findings) process.stdout.write(`${JSON.stringify(finding)}\n`);
    } else {
      for (const finding of findings) process.stdout.write(textOf(finding));
      process.stdout.write(
        wrong === 0 ? '\nNothing is wrong.\n' : `\n${wrong} of ${findings.length} are wrong.\n`,
      );
    }
    return wrong === 0 ? EXIT_DONE : EXIT_FAILED;
  },
});

async function look(
  values: {
    readonly client: readonly NodeClient[];
    readonly root: string;
    readonly 'containerd.config': string;
  },
  file: string | undefined,
): Promise<readonly Finding[]> {
  let config: ReturnType<typeof agentConfig>;
  let dataIsGiven: boolean;
  try {
    const resolved = resolveOptions(agentOptions, { environment: process.env, file });
    config = agentConfig(resolved.values);
    dataIsGiven = resolved.settings.get('data')?.source !== 'default';
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((text) => ({
      check: 'configuration',
      state: 'wrong' as const,
      text,
      cure: `correct ${file ?? `it, or name its file with --config (there is no ${PACKAGED_CONFIG})`}; 'shoal config print agent' shows what holds`,
    }));
  }
  const bare = await createHttpClient({ caFile: config.caFile, connectTimeoutMs: CONNECT_MS });
  const http = withCredentials(bare, { credentialsFor: config.credentialsFor ?? (() => undefined) });
  try {
    return await examine({
      http,
      tree: openTree(values.root),
      agent: `${config.tls ? 'https' : 'http'}://${formatHostPort(config.listen)}`,
      listen: config.listen,
      peerListeners: [config.peerListen, config.bittorrentListen].filter((address) => address !== 'off'),
      origins: config.origins,
      data: !dataIsGiven && existsSync(PACKAGED_DATA) ? PACKAGED_DATA : config.data,
      cacheSizeBytes: config.cacheSizeBytes,
      version: manifest.version,
      clients: values.client.length > 0 ? values.client : undefined,
      containerdConfig: values['containerd.config'],
    });
  } finally {
    await http.close();
  }
}

const MARKS = { ok: 'ok      ', wrong: 'WRONG   ', unknown: 'unknown ' } as const;

function textOf({ check, state, text, cure }: Finding): string {
  const line = `${MARKS[state]}${check}: ${text}\n`;
  return cure === undefined ? line : `${line}        cure: ${cure}\n`;
}
