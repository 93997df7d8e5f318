/** Members that were met, kept over restarts: who starts while the tracker is out begins with them. */
import type { Level } from 'level';
import { formatMember, parseMembers } from '#multiaddr';
import type { Overlay } from '#swarm';
import type { Logger } from '#telemetry';

const KEPT = 64;
const WRITE_MS = 60_000;
/** While nobody was met, those to begin with are tried again this often: they may start later than we do. */
const RETRY_MS = 5_000;
const KEY = 'members';

/** Introduces those that are kept, and `bootstrap`; writes down who is known, once a minute and at the end. */
export async function keepMembers(options: {
  readonly db: Level<string, Uint8Array>;
  readonly overlay: Overlay;
  /** Multiaddrs, and HOST:PORT of libp2p listeners. */
  readonly bootstrap: readonly string[];
  readonly log: Logger;
}): Promise<{ close(): Promise<void> }> {
  const { overlay, log } = options;
  const kept = options.db.sublevel<string, readonly string[]>('known-members', { valueEncoding: 'json' });
  let last = '';

  async function write(): Promise<void> {
    const texts = overlay.members().slice(0, KEPT).flatMap(formatMember);
    const text = texts.toSorted().join();
    if (texts.length === 0 || text === last) return;
    last = text;
    await kept.put(KEY, texts);
  }
  const tryToWrite = (): Promise<void> =>
    write().catch((error: unknown) => log.warn({ err: error }, 'known members were not written down'));

  const before = (await kept.get(KEY)) ?? [];
  const [addresses, hosts] = [true, false].map((isMultiaddr) =>
    options.bootstrap.filter((text) => text.startsWith('/') === isMultiaddr),
  );
  function begin(): void {
    overlay.introduce(parseMembers([...(addresses ?? []), ...before]));
    for (const { host, port } of parseMembers(hosts ?? [])) void overlay.introduceHost(host, port);
  }
  begin();
  const retry = setInterval(() => {
    if (overlay.status().met === 0) begin();
  }, RETRY_MS);
  retry.unref();
  const timer = setInterval(() => void tryToWrite(), WRITE_MS);
  timer.unref();
  return {
    async close() {
      clearInterval(timer);
      clearInterval(retry);
      await tryToWrite();
    },
  };
}
