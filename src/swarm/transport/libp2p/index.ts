/**
 * libp2p between members: one encrypted, authenticated connection for a pair of agents, one
 * stream of it for each blob.
 */
export {
  createLibp2pNode,
  type Libp2pNode,
  type Libp2pOptions,
  type LibraryParts,
  type NodeAddress,
  PROTOCOL,
  released,
} from './node.ts';
export { tcpMultiaddr } from './sockets.ts';
