/**
 * Byte streams between two members. A transport dials and accepts; what the bytes mean is the
 * wire's business. Plain TCP, or a stream of a
 * libp2p connection; libp2p itself (./libp2p/index.ts) is loaded by who speaks it.
 */
export { type Connection, type ConnectionEvents, nameOf } from './connection.ts';
export { awaitHandshake, type Greeting } from './gate.ts';
export { createIdentity, identityFile, loadIdentity } from './libp2p/identity.ts';
export type { Libp2pNode } from './libp2p/node.ts';
export { dialTcp, listenTcp, type TcpListener } from './tcp.ts';
