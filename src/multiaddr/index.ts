/** Where members are reached, as text: in metainfo, in inventories, in a tracker's answers. */
export {
  formatMember,
  formatMultiaddr,
  isPeerId,
  type Libp2pAddress,
  type MemberAddress,
  parseMembers,
  parseMultiaddr,
  plainPort,
} from './multiaddr.ts';
