/** Are the origins, their clocks, the tracker in them and the other agents where they should be? */
import { connect } from 'node:net';
import { type Endpoint, endpointClient, plainUrl, resolveEndpoints } from '#endpoints';
import type { HttpClient, HttpResponse } from '#http';
import { parseHostPort } from '#http';
import { codeOf, type Finding, ok, unknown, wrong } from './finding.ts';

const ASK_MS = 8_000;
const DIAL_MS = 3_000;
const MAX_BYTES = 16 * 1024 * 1024;
/** Tokens live five minutes; certificates and logs suffer sooner. */
const MOST_SKEW_MS = 30_000;
/** A few of many tell whether a firewall is between. */
const DIALS = 5;
const TLS_CODES = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS|ERR_SSL|EPROTO/;

export async function checkOrigins(options: {
  readonly http: HttpClient;
  readonly origins: readonly string[];
  readonly peerId: string | undefined;
}): Promise<readonly Finding[]> {
  const each = await Promise.all(options.origins.map((url) => checkUrl(options, url)));
  return each.flat();
}

/** A name that stands for several origins is looked up as the agent would. */
async function checkUrl(
  options: { readonly http: HttpClient; readonly peerId: string | undefined },
  text: string,
): Promise<readonly Finding[]> {
  let endpoints: readonly Endpoint[];
  try {
    endpoints = await resolveEndpoints(text);
  } catch (error) {
    return [unreachable({ url: plainUrl(text), name: plainUrl(text) }, codeOf(error))];
  }
  const each = endpoints.map((endpoint) =>
    checkOrigin({ ...options, http: endpointClient(options.http, endpoint), ...endpoint }),
  );
  return (await Promise.all(each)).flat();
}

async function checkOrigin(options: {
  readonly http: HttpClient;
  readonly url: string;
  readonly name: string;
  readonly peerId: string | undefined;
}): Promise<readonly Finding[]> {
  const { http, url, name } = options;
  let response: HttpResponse;
  try {
    response = await ask(http, `${url}/v2/`);
  } catch (error) {
    return [unreachable(options, codeOf(error))];
  }
  await http.read(response, MAX_BYTES).catch(() => undefined);
  const clock = clockOf(name, response);
  const { status, headers } = response;
  if (status === 401 || status === 403) {
    const cure =
      "give the agent's user with auth.file, or auth.username and auth.password-file; the origin's access.rules need pull and join for it";
    return [
      wrong('origin', `${name} answered ${status}: the agent's log-in is missing or wrong`, cure),
      ...clock,
    ];
  }
  if (status !== 200 || headers['docker-distribution-api-version'] === undefined) {
    const cure = "'origin' in the agent's configuration must be the URL of a shoal origin, with its port";
    return [wrong('origin', `${name} answered ${status} and is no registry`, cure), ...clock];
  }
  return [ok('origin', `${name} answers`), ...clock, ...(await checkTracker(options))];
}

function ask(http: HttpClient, url: string): Promise<HttpResponse> {
  return http.request(url, { signal: AbortSignal.timeout(ASK_MS) });
}

function unreachable({ url, name }: { url: string; name: string }, code: string): Finding {
  const { hostname, host } = new URL(url);
  const say = (text: string, cure: string): Finding => wrong('origin', `${name}: ${text} (${code})`, cure);
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return say(
      `the name ${hostname} cannot be resolved`,
      `check 'origin' in the configuration, and DNS: getent hosts ${hostname}`,
    );
  }
  if (code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED') {
    return say(
      'its certificate is not valid now',
      "renew the certificate, or set this node's clock: timedatectl set-ntp true",
    );
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return say(
      'its certificate is for another name',
      `use the name that the certificate has, or issue one for ${hostname}`,
    );
  }
  if (TLS_CODES.test(code)) {
    return say(
      'its certificate is not trusted',
      "name the authority with 'ca.file' in the agent's configuration; with plain HTTP the URL begins with http://",
    );
  }
  if (code === 'ECONNREFUSED') {
    return say(
      'nothing listens there',
      `start the origin (systemctl start shoal-origin on ${hostname}), and check host and port`,
    );
  }
  if (code === 'ECONNRESET' || code === 'UND_ERR_SOCKET') {
    return say('it ends the connection', 'an origin with TLS wants https:// in the URL; else see its log');
  }
  return say('no answer came', `a firewall may be between, or a route missing: open ${host} for this node`);
}

function clockOf(name: string, response: HttpResponse): readonly Finding[] {
  const theirs = Date.parse(response.headers['date'] ?? '');
  if (Number.isNaN(theirs)) return [];
  const skew = Date.now() - theirs;
  const text = `this node's clock is ${Math.round(Math.abs(skew) / 1000)} s ${skew > 0 ? 'ahead of' : 'behind'} ${name}`;
  if (Math.abs(skew) <= MOST_SKEW_MS) return [ok('clock', `it agrees with ${name}`)];
  return [
    wrong(
      'clock',
      text,
      'let both follow a time server: timedatectl set-ntp true (or chrony), and look with timedatectl',
    ),
  ];
}

interface TrackedAgent {
  readonly peerId: string;
  readonly address: string | null;
  readonly peer: string | null;
}

async function checkTracker(options: Parameters<typeof checkOrigin>[0]): Promise<readonly Finding[]> {
  const { http, url, name, peerId } = options;
  let agents: readonly TrackedAgent[];
  try {
    const response = await ask(http, `${url}/api/v1/agents`);
    const body = (await http.read(response, MAX_BYTES)).toString('utf8');
    if (response.status === 401 || response.status === 403) {
      return [unknown('peers', `${name} lists its agents only for a user with the right 'manage'`)];
    }
    if (response.status !== 200) throw new Error(`status ${response.status}`);
    ({ agents } = JSON.parse(body) as { agents: readonly TrackedAgent[] });
    if (!Array.isArray(agents)) throw new Error('no list of agents');
  } catch (error) {
    const cure = `a proxy before the origin must pass /api/v1/ and /announce on, not /v2/ alone; else see the origin's log`;
    return [
      wrong('tracker', `${name} is a registry, but its tracker does not answer: ${codeOf(error)}`, cure),
    ];
  }
  const findings = [ok('tracker', `${name} knows ${agents.length} agents`)];
  if (peerId !== undefined && !agents.some((agent) => agent.peerId === peerId)) {
    const cure =
      "its log says why: journalctl -u shoal-agent | grep -i tracker; its user needs the right 'join'";
    findings.push(wrong('tracker', `${name} does not know this agent, so others do not find it`, cure));
  }
  const others = agents.filter((agent) => agent.peerId !== peerId && (agent.peer ?? agent.address) !== null);
  return [...findings, ...(await checkPeers(others))];
}

async function checkPeers(others: readonly TrackedAgent[]): Promise<readonly Finding[]> {
  if (others.length === 0) return [ok('peers', 'this is the only agent yet')];
  const chosen = others.toSorted(() => Math.random() - 0.5).slice(0, DIALS);
  const dialled = await Promise.all(
    chosen.map(async (agent) => {
      const failures = await Promise.all(addressesOf(agent).map(dial));
      return failures.includes(undefined) ? undefined : `${addressesOf(agent)[0]}: ${failures[0]}`;
    }),
  );
  const failed = dialled.filter((failure) => failure !== undefined);
  if (failed.length === 0) return [ok('peers', `all ${chosen.length} that were dialled accept`)];
  const cure =
    'open their peer.listen and bittorrent.listen ports (4002 and 6882) between the nodes, and see that they listen on an address that others reach, not on 127.0.0.1; behind NAT set advertise';
  return [
    wrong(
      'peers',
      `${failed.length} of ${chosen.length} agents cannot be reached: ${failed.join('; ')}`,
      cure,
    ),
  ];
}

/** `10.0.0.7:6882` and `/ip4/10.0.0.7/tcp/4002/p2p/…` as HOST:PORT. */
function addressesOf({ address, peer }: TrackedAgent): readonly string[] {
  const [, family, host = '', , port] = (peer ?? '').split('/');
  const libp2p = port === undefined ? [] : [family === 'ip6' ? `[${host}]:${port}` : `${host}:${port}`];
  return [...libp2p, ...(address === null ? [] : [address])];
}

/** Why a TCP connection was not accepted; undefined when it was. */
function dial(address: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ ...parseHostPort(address), timeout: DIAL_MS });
    const end = (failure: string | undefined): void => {
      socket.destroy();
      resolve(failure);
    };
    socket.once('connect', () => end(undefined));
    socket.once('timeout', () => end('no answer (a firewall?)'));
    socket.once('error', (error) => end(codeOf(error)));
  });
}
