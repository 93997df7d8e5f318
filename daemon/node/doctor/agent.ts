/** Is the agent up, is it an agent, and of the installed version? */
import { formatHostPort, type HostPort, type HttpClient } from '#http';
import { codeOf, type Finding, ok, wrong } from './finding.ts';
import { portOwner } from './port-owner.ts';

export interface AgentSeen {
  readonly findings: readonly Finding[];
  /** Of the swarm's members; undefined when no agent answers. */
  readonly peerId: string | undefined;
  readonly uid: number | undefined;
}

const ASK_MS = 5_000;
const MAX_BYTES = 4 * 1024 * 1024;
const START = 'systemctl start shoal-agent, and see why it ended: journalctl -u shoal-agent -n 50';

export async function checkAgent(options: {
  readonly http: HttpClient;
  readonly url: string;
  readonly listen: HostPort;
  /** Of the installed files. */
  readonly version: string;
}): Promise<AgentSeen> {
  const { http, url, listen, version } = options;
  const owner = await portOwner(listen.port);
  const seen = (finding: Finding, peerId?: string): AgentSeen => ({
    findings: [finding],
    peerId,
    uid: owner?.uid,
  });
  let status: {
    readonly program?: unknown;
    readonly version?: unknown;
    readonly swarm?: { readonly peerId?: unknown };
  };
  try {
    const response = await http.request(`${url}/api/v1/status`, { signal: AbortSignal.timeout(ASK_MS) });
    status = JSON.parse((await http.read(response, MAX_BYTES)).toString('utf8')) ?? {};
  } catch (error) {
    if (owner === undefined)
      return seen(wrong('agent', `nothing listens at ${formatHostPort(listen)}`, START));
    const who = ownerText(owner);
    if (error instanceof SyntaxError) return seen(taken(listen, who));
    const stuck = `${who} listens at ${formatHostPort(listen)}, but gives no answer (${codeOf(error)})`;
    return seen(
      wrong(
        'agent',
        stuck,
        'if it is the agent: systemctl restart shoal-agent; if not, see who has the port',
      ),
    );
  }
  if (status.program !== 'agent') {
    return seen(taken(listen, owner ? ownerText(owner) : 'another program'));
  }
  const peerId = typeof status.swarm?.peerId === 'string' ? status.swarm.peerId : undefined;
  const running = typeof status.version === 'string' ? status.version : 'an older version';
  if (running === version) return seen(ok('agent', `version ${running} answers at ${url}`), peerId);
  return seen(
    wrong(
      'version',
      `the agent that runs is ${running}, installed is ${version}`,
      'systemctl restart shoal-agent',
    ),
    peerId,
  );
}

function ownerText({
  pid,
  command,
}: {
  readonly pid: number | undefined;
  readonly command: string | undefined;
}): string {
  return pid === undefined ? 'another program' : `process ${pid} (${command})`;
}

function taken(listen: HostPort, who: string): Finding {
  return wrong(
    'port',
    `${who} has the agent's address ${formatHostPort(listen)}, and is no agent`,
    "stop it, or give the agent another address with 'listen' in its configuration and run 'shoal node setup' again with --agent",
  );
}
