/** Connections to one address of a name that has several. */
import type { LookupFunction } from 'node:net';
import { isIPv6 } from 'node:net';
import { Agent, type buildConnector } from 'undici';

export interface AddressedAgents {
  /** Dials this address, whatever the host of a request. */
  at(address: string): Agent;
  destroy(): Promise<void>;
}

/** Addresses come and go with the machines that have them; one that was not used for so many others is given up. */
const MOST = 64;

export function createAddressedAgents(
  settings: Agent.Options & { readonly connect: buildConnector.BuildOptions },
): AddressedAgents {
  /** The one that was used last is at the end. */
  const agents = new Map<string, Agent>();
  return {
    at(address) {
      const agent =
        agents.get(address) ??
        new Agent({ ...settings, connect: { ...settings.connect, lookup: answerWith(address) } });
      agents.delete(address);
      agents.set(address, agent);
      for (const [oldest, unused] of agents) {
        if (agents.size <= MOST) break;
        agents.delete(oldest);
        // What is under way there goes on to its end.
        unused.close().catch(() => undefined);
      }
      return agent;
    },
    async destroy() {
      await Promise.all(Array.from(agents.values(), (agent) => agent.destroy()));
      agents.clear();
    },
  };
}

/** As `dns.lookup`, with one answer. */
function answerWith(address: string): LookupFunction {
  const family = isIPv6(address) ? 6 : 4;
  return (_host, { all }, callback) => {
    if (all) callback(null, [{ address, family }]);
    else callback(null, address, family);
  };
}
