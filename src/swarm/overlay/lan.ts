/** mDNS: who else is on the local network. Says our peer id and addresses to whoever asks there, and hears others say theirs. */
import type { PeerInfo, Startable } from '@libp2p/interface';
import { type MulticastDNSComponents, mdns } from '@libp2p/mdns';
import type { LibraryParts, NodeAddress } from '../transport/libp2p/index.ts';
import { nodeAddresses, toMultiaddr } from './addresses.ts';

const SERVICE = '_shoal._udp.local';
/**
 * Everybody answers each question to everybody, so questions are rare: at the start, when somebody is missing
 * (`ask`), and this often.
 */
const INTERVAL_MS = 10 * 60_000;
const LEAST_PAUSE_MS = 2_000;

export interface Lan {
  /** Asks who is there, unless that was done a moment ago. */
  ask(): void;
  close(): Promise<void>;
}

export async function startLan(options: {
  readonly parts: LibraryParts;
  readonly port: number;
  readonly own: () => readonly NodeAddress[];
  readonly onMember: (peerId: string, addresses: readonly NodeAddress[]) => void;
}): Promise<Lan> {
  const { parts, port, own, onMember } = options;
  const components = {
    logger: parts.logger,
    addressManager: { getAddresses: () => own().map(toMultiaddr) },
  } as unknown as MulticastDNSComponents;
  const service = mdns({ serviceTag: SERVICE, interval: INTERVAL_MS, port })(
    components,
  ) as unknown as EventTarget &
    Startable & {
      readonly mdns?: { query(question: { readonly questions: readonly object[] }): void };
    };
  service.addEventListener('peer', (event) => {
    const { id, multiaddrs } = (event as CustomEvent<PeerInfo>).detail;
    onMember(id.toString(), nodeAddresses(multiaddrs, id.toString()));
  });
  await service.start();
  let askedAt = performance.now();
  return {
    ask() {
      if (performance.now() - askedAt < LEAST_PAUSE_MS) return;
      askedAt = performance.now();
      service.mdns?.query({ questions: [{ name: SERVICE, type: 'PTR' }] });
    },
    close: async () => {
      await service.stop();
    },
  };
}
