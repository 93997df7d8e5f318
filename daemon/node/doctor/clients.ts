/** Do the container clients of this node pull through the agent? */
import { containerdConfig } from '../containerd.ts';
import type { View } from '../plan.ts';
import { mirroredBy } from '../registries.ts';
import { parseToml, tableAt } from '../toml.ts';
import { type Finding, ok, unknown, wrong } from './finding.ts';

const PROGRAMS = {
  containerd: ['/usr/bin', '/usr/local/bin', '/opt/bin'],
  crio: ['/usr/bin', '/usr/local/bin', '/usr/sbin'],
  podman: ['/usr/bin', '/usr/local/bin'],
} as const;

export type NodeClient = keyof typeof PROGRAMS;

export async function checkClients(options: {
  readonly view: View;
  readonly agent: string;
  readonly containerdConfig: string;
  /** undefined: those that are installed. */
  readonly clients: readonly NodeClient[] | undefined;
}): Promise<readonly Finding[]> {
  const { view, agent } = options;
  const clients = options.clients ?? (await installed(view));
  if (clients.length === 0)
    return [unknown('mirror', 'neither containerd, CRI-O nor podman is installed here')];
  return Promise.all(
    clients.map(async (client) => {
      const cure = `shoal node setup ${client} --agent ${agent}`;
      try {
        const mirrored =
          client === 'containerd'
            ? await hostsWith(view, options.containerdConfig, agent)
            : await mirroredBy(view, agent);
        return mirrored.length > 0
          ? ok('mirror', `${client} pulls through the agent: ${mirrored.join(', ')}`)
          : wrong('mirror', `${client} does not pull through the agent at ${agent}`, cure);
      } catch (error) {
        // A broken hosts.toml is ignored by containerd without a word.
        return wrong('mirror', `${client}: ${(error as Error).message}`, `mend that file, then ${cure}`);
      }
    }),
  );
}

async function installed(view: View): Promise<readonly NodeClient[]> {
  const found: NodeClient[] = [];
  for (const [client, folders] of Object.entries(PROGRAMS) as [NodeClient, readonly string[]][]) {
    for (const folder of folders) {
      if ((await view.list(folder)).includes(client)) found.push(client);
    }
  }
  return [...new Set(found)];
}

/** The names below containerd's folders whose hosts.toml has the agent first. */
async function hostsWith(view: View, main: string, agent: string): Promise<readonly string[]> {
  const { folders } = await containerdConfig(view, main);
  const found: string[] = [];
  for (const folder of folders) {
    for (const name of await view.list(folder)) {
      const file = `${folder}/${name}/hosts.toml`;
      const text = await view.text(file);
      const hosts = text === undefined ? undefined : tableAt(parseToml(file, text), 'host');
      if (hosts && Object.keys(hosts)[0] === agent) found.push(name);
    }
  }
  return found;
}
