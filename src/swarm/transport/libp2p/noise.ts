/**
 * Noise (https://noiseprotocol.org, https://github.com/libp2p/specs/tree/master/noise): the
 * handshake is the library's, the frames behind it are ours. The library spends more on lists,
 * events and keys that are made anew for each frame than on the cipher. Ours fill every frame,
 * encrypt each with one call from one buffer, decrypt from the receive buffer without a copy,
 * leave as one gathered write, and give the cipher's memory back without the garbage collector. Measured: docs/decisions/0020-noise-or-tls.md.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import { type ICryptoInterface, type NoiseComponents, noise } from '@chainsafe/libp2p-noise';
import { defaultCrypto } from '@chainsafe/libp2p-noise/crypto';
import type { ConnectionEncrypter, MessageStream, SecuredConnection } from '@libp2p/interface';
import type { Connection, ConnectionEvents } from '../connection.ts';
import { Negotiation, type Released } from './negotiation.ts';

const CIPHER = 'chacha20-poly1305';
const CIPHER_OPTIONS = { authTagLength: 16 } as const;
const LENGTH_BYTES = 2;
const TAG_BYTES = 16;
const MAX_CIPHERTEXT = 65_535;

/** Plaintext that fits into one frame. */
export const MAX_PLAINTEXT = MAX_CIPHERTEXT - TAG_BYTES;

/** The library ends a connection at this nonce, and so must we. */
const MAX_NONCE = 0xffff_ffff;

/** Gathers the parts of a frame; used within one call only, so one serves all connections. */
const staging = Buffer.allocUnsafeSlow(MAX_PLAINTEXT);

interface Keys {
  readonly initiator: Uint8Array;
  readonly responder: Uint8Array;
}

/**
 * The library's encrypter with its cipher taken out: the last step of a Noise handshake is
 * Split(), which is HKDF(chaining key, nothing) and gives the two keys. Nothing else in the
 * handshake derives from nothing, so this is where we learn them, by the library's own hook for
 * cryptography.
 */
export function createNoise(components: NoiseComponents): ConnectionEncrypter {
  const protocol = '/noise';

  async function secure(
    stream: MessageStream,
    handshake: (library: ConnectionEncrypter) => Promise<SecuredConnection>,
  ): Promise<SecuredConnection> {
    if (!(stream instanceof Negotiation)) throw new Error('not a connection of ours');
    let keys: Keys | undefined;
    const crypto: ICryptoInterface = {
      ...defaultCrypto,
      getHKDF(chainingKey, input) {
        const derived = defaultCrypto.getHKDF(chainingKey, input);
        if (input.length === 0) {
          keys = { initiator: derived[0], responder: derived[1] };
          stream.hold();
        }
        return derived;
      },
    };
    const secured = await handshake(noise({ crypto })(components));
    if (keys === undefined) throw new Error('the handshake ended without keys');
    const initiator = stream.direction === 'outbound';
    const connection = createSecureConnection(stream.release(), {
      send: initiator ? keys.initiator : keys.responder,
      receive: initiator ? keys.responder : keys.initiator,
      memberId: secured.remotePeer.toString(),
    });
    const { id, log, remoteAddr } = stream;
    return { ...secured, connection: new Negotiation({ connection, id, log, remoteAddr }) };
  }

  return {
    protocol,
    secureInbound: (stream, options) => secure(stream, (library) => library.secureInbound(stream, options)),
    secureOutbound: (stream, options) => secure(stream, (library) => library.secureOutbound(stream, options)),
  };
}

/** Counts messages: eight bytes, little-endian, behind four zero bytes. */
function createNonce(): () => Buffer {
  const bytes = Buffer.alloc(12);
  let next = 0;
  return () => {
    if (next > MAX_NONCE) throw new Error('too many messages under one key');
    bytes.writeUInt32LE(next, 4);
    next++;
    return bytes;
  };
}

/**
 * Gives a cipher's output back at once. Left to the garbage collector, 64 KiB for each frame cost
 * more processor time than the cipher: memory that is never warm, and collections to get it back.
 */
function free(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === bytes.length) buffer.transfer(0);
}

function createSealer(key: KeyObject): (plaintext: Uint8Array, out: Uint8Array[]) => void {
  const nonce = createNonce();
  return (plaintext, out) => {
    const cipher = createCipheriv(CIPHER, key, nonce(), CIPHER_OPTIONS);
    const sealed = cipher.update(plaintext);
    cipher.final();
    const length = Buffer.allocUnsafe(LENGTH_BYTES);
    length.writeUInt16BE(sealed.length + TAG_BYTES);
    out.push(length, sealed, cipher.getAuthTag());
  };
}

function createOpener(key: KeyObject): (frame: Uint8Array) => Buffer {
  const nonce = createNonce();
  return (frame) => {
    if (frame.length < TAG_BYTES) throw new Error('a Noise message without a tag');
    const split = frame.length - TAG_BYTES;
    const decipher = createDecipheriv(CIPHER, key, nonce(), CIPHER_OPTIONS);
    decipher.setAuthTag(frame.subarray(split));
    const plaintext = decipher.update(frame.subarray(0, split));
    decipher.final();
    return plaintext;
  };
}

/** The encrypted connection over `raw` with the member that the handshake proved. */
export function createSecureConnection(
  { connection: raw, rest }: Released,
  keys: { readonly send: Uint8Array; readonly receive: Uint8Array; readonly memberId: string },
): Connection {
  const seal = createSealer(createSecretKey(keys.send));
  const unseal = createOpener(createSecretKey(keys.receive));
  let early = rest;
  let events: ConnectionEvents | undefined;
  let carry: Buffer | undefined;
  let carried = 0;
  let over = false;

  function open(frame: Uint8Array): void {
    const plaintext = unseal(frame);
    if (plaintext.length > 0 && !over) events?.data(plaintext);
    free(plaintext);
  }

  /** Completes the frame in `carry`; returns the position behind what was taken from the chunk. */
  function resumeCarried(chunk: Buffer, into: Buffer): number {
    let at = 0;
    const fill = (need: number): boolean => {
      const taken = Math.max(0, chunk.copy(into, carried, at, at + need - carried));
      carried += taken;
      at += taken;
      return carried === need;
    };
    if (carried < LENGTH_BYTES && !fill(LENGTH_BYTES)) return at;
    const end = LENGTH_BYTES + into.readUInt16BE(0);
    if (!fill(end)) return at;
    carried = 0;
    open(into.subarray(LENGTH_BYTES, end));
    return at;
  }

  function receive(chunk: Buffer): void {
    let at = carried > 0 && carry !== undefined ? resumeCarried(chunk, carry) : 0;
    while (!over) {
      if (chunk.length - at < LENGTH_BYTES) break;
      const end = at + LENGTH_BYTES + chunk.readUInt16BE(at);
      if (end > chunk.length) break;
      open(chunk.subarray(at + LENGTH_BYTES, end));
      at = end;
    }
    if (at === chunk.length || over) return;
    carry ??= Buffer.allocUnsafeSlow(LENGTH_BYTES + MAX_CIPHERTEXT);
    carried = chunk.copy(carry, 0, at);
  }

  function data(chunk: Buffer): void {
    try {
      receive(chunk);
    } catch (error) {
      // A wrong tag, a wrong length: nothing behind it can be believed.
      raw.close(`not Noise: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  return {
    transport: 'libp2p',
    host: raw.host,
    port: raw.port,
    memberId: keys.memberId,
    incoming: raw.incoming,
    get unsent() {
      return raw.unsent;
    },
    attach(next) {
      const first = events === undefined;
      events = next;
      if (first) {
        const waiting = early;
        early = [];
        for (const chunk of waiting) data(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
      }
      raw.attach({
        data,
        closed(reason) {
          over = true;
          events?.closed(reason);
        },
      });
    },
    onClosed: (listener) => raw.onClosed(listener),
    pause: () => raw.pause(),
    resume: () => raw.resume(),
    write(parts, taken) {
      const sealed: Uint8Array[] = [];
      let staged = 0;
      try {
        for (const part of parts) {
          let at = 0;
          while (at < part.length) {
            if (staged === 0 && part.length - at >= MAX_PLAINTEXT) {
              seal(part.subarray(at, at + MAX_PLAINTEXT), sealed);
              at += MAX_PLAINTEXT;
              continue;
            }
            const take = Math.min(part.length - at, MAX_PLAINTEXT - staged);
            staging.set(part.subarray(at, at + take), staged);
            staged += take;
            at += take;
            if (staged < MAX_PLAINTEXT) continue;
            seal(staging, sealed);
            staged = 0;
          }
        }
        if (staged > 0) seal(staging.subarray(0, staged), sealed);
      } catch (error) {
        raw.close(error instanceof Error ? error.message : String(error));
        taken?.();
        return;
      }
      raw.write(sealed, () => {
        for (const bytes of sealed) free(bytes);
        taken?.();
      });
    },
    close: (reason) => raw.close(reason),
  };
}
