/**
 * Byte streams between two members. A transport dials and accepts; what the bytes mean is the
 * wire's business. Today plain TCP; a stream of libp2p fits the same `Connection`.
 */
export type { Connection, ConnectionEvents } from './connection.ts';
export { awaitHandshake, type Greeting } from './gate.ts';
export type { Libp2pNode } from './libp2p/node.ts';
export { dialTcp, listenTcp, type TcpListener } from './tcp.ts';
