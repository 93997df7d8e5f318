/**
 * The protocol's state with one member. Every message is answered or refused here; what it means
 * for the blob is told to the owner. Conditions under which a peer is closed:
 * - it broke the wire protocol (WireError), or queues more requests than it may
 * - it wasted more than its budget (see budget.ts)
 * - it asks and does not take the answers
 * - it was silent for three minutes, or the connection failed
 */
import { createMeter } from '../rate/index.ts';
import {
  BLOCK_BYTES,
  createDecoder,
  decodeExtendedHandshake,
  decodeMetadataMessage,
  encodeExtendedHandshake,
  encodeMetadataPiece,
  encodeMetadataReject,
  METADATA_PIECE_BYTES,
  WireError,
  type WireEvents,
  writeBitfield,
} from '../wire/index.ts';
import { createAsked } from './asked.ts';
import { createWasteBudget } from './budget.ts';
import type { Peer, PeerOptions } from './contract.ts';
import { createOutbox } from './outbox.ts';
import {
  CLIENT,
  DEFAULT_REQUEST_QUEUE,
  KEEP_ALIVE_MS,
  MAX_QUEUED_REQUESTS,
  MAX_UNSENT_BYTES,
  OUR_REQUEST_QUEUE,
  SILENCE_MS,
  TAKE_MS,
  WASTE_BITFIELD,
  WASTE_BLOCK,
  WASTE_MESSAGE,
} from './session.ts';
import { createUploads } from './uploads.ts';

const labelOf = (at: { readonly host: string; readonly port: number }): string => `${at.host}:${at.port}`;

/** A peer over an established connection. */
export function createPeer(options: PeerOptions): Peer {
  const { connection, events, fast, now } = options;
  const connectedAt = now();
  const outbox = createOutbox((bytes) => {
    sentAt = now();
    connection.write([bytes]);
    if (connection.unsent > MAX_UNSENT_BYTES) offend('does not read what it is sent');
  });
  const asked = createAsked(options.pieceLength, options.asked);
  const budget = createWasteBudget(connectedAt);
  const down = createMeter(connectedAt);
  const up = createMeter(connectedAt);
  const uploads = createUploads({
    connection,
    pieceLength: options.pieceLength,
    pieceSize: options.pieceSize,
    recall: options.recall,
    read: options.read,
    memory: options.memory,
    limiter: options.uploadLimiter,
    rate: () => up.rate(now()),
    now,
    flush: () => outbox.flush(),
    sent: (bytes) => {
      sentAt = now();
      up.add(bytes);
      events.sent(peer, bytes);
    },
    served: (piece) => {
      if (!closed) events.served(peer, piece);
    },
    unreadable: (error) => events.unreadable(error),
  });

  let address = options.address;
  let label = connection.memberId ?? labelOf(address ?? connection);
  let choking = true;
  let interested = false;
  let amChoking = true;
  let amInterested = false;
  let requestQueue = DEFAULT_REQUEST_QUEUE;
  let introduced = false;
  let told = false;
  let zone = options.address?.zone;
  let metadataId: number | undefined;
  let metadataAsked = 0;
  let sentAt = connectedAt;
  let heardAt = connectedAt;
  let progressAt = connectedAt;
  let closed = false;
  let expected = false;
  /** In what is being read blocks ended or pieces were told: only then is there more to ask for. */
  let mayAskMore = false;

  function waste(count: number, what: string): void {
    if (!budget.spend(count, now())) offend(`flood of ${what}`);
  }

  function offend(reason: string): void {
    if (closed) return;
    events.offended(peer, reason);
    peer.close(reason);
  }

  /** Its pieces; once is free. */
  function tell(bits: Uint8Array | 'all' | 'none'): void {
    if (told) waste(WASTE_BITFIELD, 'bitfields');
    told = true;
    mayAskMore = true;
    if (!closed) events.pieces(peer, bits);
  }

  function refuse(piece: number, offset: number, length: number): void {
    if (fast) outbox.add('reject', piece, offset, length);
    waste(WASTE_MESSAGE, 'requests that cannot be served');
  }

  function answerMetadata(piece: number): void {
    if (metadataId === undefined) return;
    const pieces = Math.ceil(options.info.length / METADATA_PIECE_BYTES);
    // A client asks each piece once, again when it lost one; more is a flood.
    metadataAsked++;
    const served = piece < pieces && metadataAsked <= 4 * pieces;
    outbox.addBytes(
      served ? encodeMetadataPiece(metadataId, piece, options.info) : encodeMetadataReject(metadataId, piece),
    );
    if (!served) waste(WASTE_BLOCK, 'metadata requests');
  }

  const wire: WireEvents = {
    keepAlive: () => waste(WASTE_MESSAGE, 'keep-alives'),
    choke() {
      waste(WASTE_MESSAGE, 'chokes');
      if (choking) return;
      choking = true;
      // With the fast extension each request is refused by itself (BEP 6).
      events.choked(peer, fast ? [] : asked.clear());
    },
    unchoke() {
      waste(WASTE_MESSAGE, 'unchokes');
      if (!choking) return;
      choking = false;
      progressAt = now();
      events.unchoked(peer);
    },
    interested() {
      waste(WASTE_MESSAGE, 'interest');
      if (interested) return;
      interested = true;
      events.interested(peer);
    },
    notInterested() {
      waste(WASTE_MESSAGE, 'interest');
      if (!interested) return;
      interested = false;
      events.interested(peer);
    },
    have(piece) {
      if (events.have(peer, piece)) mayAskMore = true;
      else waste(WASTE_MESSAGE, 'HAVEs');
    },
    bitfield: (bits) => tell(bits),
    haveAll: () => tell('all'),
    haveNone: () => tell('none'),
    request(piece, offset, length) {
      if (amChoking || !options.holds(piece)) return refuse(piece, offset, length);
      if (uploads.queued >= MAX_QUEUED_REQUESTS) return offend('flood of requests');
      uploads.add({ piece, offset, length });
    },
    cancel(piece, offset, length) {
      if (uploads.cancel(piece, offset, length)) {
        if (fast) outbox.add('reject', piece, offset, length);
      }
      waste(WASTE_MESSAGE, 'cancels');
    },
    reject(piece, offset) {
      if (asked.has(piece, offset)) {
        asked.settle(piece, offset);
        events.rejected(peer, piece, offset);
      } else if (!asked.settle(piece, offset)) {
        waste(WASTE_MESSAGE, 'rejects');
      }
    },
    unknown: () => waste(WASTE_MESSAGE, 'unknown messages'),
    extended(id, payload) {
      if (id !== 0 && !introduced) throw new WireError('extended message before the extended handshake');
      if (id !== 0) {
        const request = decodeMetadataMessage(id, payload);
        if (request !== undefined) answerMetadata(request.piece);
        else waste(WASTE_MESSAGE, 'extended messages');
        return;
      }
      // A new zone may move it in the picker, which costs as much as a bitfield.
      waste(introduced ? WASTE_BITFIELD : WASTE_MESSAGE, 'extended handshakes');
      if (closed) return;
      const theirs = decodeExtendedHandshake(payload);
      requestQueue = theirs.requestQueue ?? requestQueue;
      metadataId = theirs.metadataId ?? metadataId;
      introduced = true;
      zone = theirs.zone ?? zone;
      events.introduced(peer, theirs);
    },
    blockStart(piece, offset, length) {
      const whole = Math.min(BLOCK_BYTES, options.pieceSize(piece) - offset);
      expected = length === whole && asked.expects(piece, offset);
      if (!expected) {
        waste(WASTE_BLOCK, 'blocks that were not asked for');
        return undefined;
      }
      return events.blockStart(peer, piece, offset);
    },
    blockEnd(piece, offset, length, stored) {
      // What nobody asked for is no progress: it must not hide that what was asked for does not come.
      if (!expected) return;
      progressAt = now();
      down.add(length);
      asked.settle(piece, offset);
      mayAskMore = true;
      events.blockEnd(peer, piece, offset, length, stored);
    },
  };
  const decoder = createDecoder(wire, {
    pieceCount: options.pieceCount,
    pieceSize: options.pieceSize,
    fast,
  });

  function receive(chunk: Buffer): void {
    heardAt = now();
    try {
      decoder.push(chunk);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      offend(error.message);
    }
    if (closed) return;
    uploads.pump();
    if (!mayAskMore) return;
    mayAskMore = false;
    events.arrived(peer);
  }

  const peer: Peer = {
    peerId: options.peerId,
    connection,
    fast,
    connectedAt,
    get label() {
      return label;
    },
    get address() {
      return address;
    },
    set address(known) {
      address = known;
      label = connection.memberId ?? labelOf(known ?? connection);
    },
    get role() {
      return address?.role ?? 'agent';
    },
    get zone() {
      return zone;
    },
    get choking() {
      return choking;
    },
    get interested() {
      return interested;
    },
    get amChoking() {
      return amChoking;
    },
    get amInterested() {
      return amInterested;
    },
    get told() {
      return told;
    },
    get outstanding() {
      return asked.size;
    },
    get requestQueue() {
      return requestQueue;
    },
    get wanted() {
      return uploads.queued;
    },
    get bytesIn() {
      return down.total;
    },
    get bytesOut() {
      return up.total;
    },
    get progressAt() {
      return progressAt;
    },
    get closed() {
      return closed;
    },
    downRate: (at) => down.rate(at),
    upRate: (at) => up.rate(at),
    greet(announce, seed) {
      if (announce === 'all' && fast) outbox.add('haveAll');
      else if (announce === 'none') {
        if (fast) outbox.add('haveNone');
      } else {
        outbox.addBytes(writeBitfield(options.pieceCount, announce === 'all' ? () => true : options.holds));
      }
      if (options.extended) {
        outbox.addBytes(
          encodeExtendedHandshake({
            port: options.listenPort,
            zone: options.ourZone,
            seed,
            requestQueue: OUR_REQUEST_QUEUE,
            client: CLIENT,
            metadataBytes: options.info.length,
          }),
        );
      }
    },
    start(rest) {
      if (rest.length > 0) receive(rest);
      if (closed) return;
      connection.attach({ data: receive, closed: (reason) => peer.close(reason) });
    },
    setInterested(wanted) {
      if (wanted === amInterested) return;
      amInterested = wanted;
      outbox.add(wanted ? 'interested' : 'notInterested');
    },
    setChoking(choke) {
      if (choke === amChoking) return;
      amChoking = choke;
      outbox.add(choke ? 'choke' : 'unchoke');
      // With the fast extension what was asked before is still sent (BEP 6), so that no piece is cut
      // in two; without it a choke voids all requests (BEP 3).
      if (choke && !fast) uploads.clear();
    },
    announce(piece, when) {
      if (when === 'now') outbox.add('have', piece);
      else outbox.addLater('have', piece);
    },
    request(piece, offset, length) {
      if (asked.size === 0) progressAt = now();
      asked.add(piece, offset);
      outbox.add('request', piece, offset, length);
    },
    cancel(piece, offset, length) {
      if (asked.giveUp(piece, offset)) outbox.add('cancel', piece, offset, length);
    },
    giveUp: (piece, offset) => void asked.giveUp(piece, offset),
    asks: (piece, offset) => asked.has(piece, offset),
    requests: () => asked.list(),
    dropBlock: () => decoder.dropBlock(),
    tick(at) {
      if (at - heardAt > SILENCE_MS) peer.close('silent for three minutes');
      else if (at - (uploads.untakenSince ?? at) > TAKE_MS) offend('does not take what it asked for');
      else if (at - sentAt > KEEP_ALIVE_MS) outbox.addKeepAlive();
      outbox.flush();
    },
    close(reason) {
      if (closed) return;
      closed = true;
      decoder.stop();
      uploads.stop();
      connection.close(reason);
      events.closed(peer, reason);
      asked.clear();
    },
  };
  return peer;
}
