import { Readable } from 'node:stream';
import { digestHex, OciError } from '#oci';
import { DRAFT_MEDIA_TYPE, encodeDraftHeader, encodeMetainfo, pieceCount } from '#torrent';
import type { OriginDraft } from '../drafts.ts';
import { completeBlob, type OpenedBlob, openBlob } from './blobs.ts';
import type { Call, Registry, Verb } from './call.ts';
import { findAnywhere } from './lookup.ts';

/**
 * GET /v2/<name>/_shoal/torrents/<digest>: the blob's metainfo, for whoever may read the blob. Any
 * BitTorrent client can use it: the tracker, the blob as web seed (BEP 19) and our listener are in it.
 *
 * While the blob comes from an upstream, who accepts drafts is told of one (see #torrent), from piece
 * `?from=` on; others wait for the whole. `Prefer: wait=0` (RFC 7240, section 4.3) asks only for what is here by now.
 */
export const getTorrent: Verb<'torrent'> = async (registry, call) => {
  const opened = await openBlob(registry, call);
  if (call.request.method === 'GET' && acceptsDraft(call)) {
    const draft = await findDraft(registry, opened);
    if (draft !== undefined) {
      if ('reader' in opened) await opened.reader.close();
      return answerWithDraft(registry, call, draft);
    }
  }
  if ('comesFrom' in opened && waitsForNothing(call)) {
    throw new OciError('BLOB_UNKNOWN', 'the blob is not here yet', { digest: opened.digest });
  }
  // The hashes of its pieces need all of its bytes.
  const { name, reader } = 'reader' in opened ? opened : await completeBlob(registry, call, opened);
  const { digest } = reader;
  await reader.close();
  const metainfo = await registry.torrents.of(digest);
  if (metainfo === undefined) throw new OciError('BLOB_UNKNOWN', undefined, { digest });
  const passkeys = call.admitted.passkeys(name, digest, metainfo.infoHash);
  const sources = registry.sourcesFor(call.request, `/v2/${name}/blobs/${digest}`, passkeys);
  const file = Buffer.from(encodeMetainfo(metainfo, sources));
  return call.reply
    .headers({
      'content-type': 'application/x-bittorrent',
      'content-disposition': `attachment; filename="${digestHex(digest)}.torrent"`,
      'docker-content-digest': digest,
    })
    .send(file);
};

interface NamedDraft {
  readonly name: string;
  readonly draft: OriginDraft;
}

function acceptsDraft({ request }: Call<'torrent'>): boolean {
  const accepted = request.headers.accept?.split(',') ?? [];
  return accepted.some((type) => type.split(';', 1)[0]?.trim() === DRAFT_MEDIA_TYPE);
}

function waitsForNothing({ request }: Call<'torrent'>): boolean {
  return String(request.headers['prefer'] ?? '')
    .split(',')
    .some((preference) => preference.trim() === 'wait=0');
}

/** The draft of a blob that comes, or that came a moment ago and whose members are still at it. */
async function findDraft(registry: Registry, opened: OpenedBlob): Promise<NamedDraft | undefined> {
  if ('reader' in opened) {
    const draft = registry.drafts.lingering(opened.reader.digest);
    return draft && { name: opened.name, draft };
  }
  const { digest, comesFrom } = opened;
  const place = await findAnywhere(comesFrom, async (name) => ({
    incoming: await registry.upstreams.start(name, digest),
  }));
  const incoming = place?.found.incoming;
  const draft = incoming && registry.drafts.of(incoming);
  return place && draft && { name: place.name, draft };
}

function answerWithDraft(
  registry: Registry,
  { request, reply, query, admitted }: Call<'torrent'>,
  { name, draft: { draft, frames } }: NamedDraft,
): unknown {
  const text = query.get('from') ?? '0';
  const from = /^\d{1,7}$/.test(text) ? Number(text) : Number.NaN;
  if (!(from <= pieceCount(draft))) {
    throw new OciError('RANGE_INVALID', 'from is not a piece of the blob', undefined, { status: 400 });
  }
  const { digest, infoHash } = draft;
  const passkeys = admitted.passkeys(name, digest, infoHash);
  const sources = registry.sourcesFor(request, `/v2/${name}/blobs/${digest}`, passkeys);
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  async function* body(): AsyncGenerator<Uint8Array> {
    yield encodeDraftHeader(draft, from, sources);
    yield* frames(from, gone.signal);
  }
  return reply
    .headers({
      'content-type': DRAFT_MEDIA_TYPE,
      'cache-control': 'no-store',
      'docker-content-digest': digest,
    })
    .send(Readable.from(body(), { objectMode: false }));
}
