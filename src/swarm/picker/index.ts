/**
 * Which block to ask of which peer next. Pure state: events in, decisions out; the engine and the
 * simulator drive the very same code.
 *
 *     const picker = createPicker<Peer>({ pieceCount, pieceSize, held: (piece) => store.has(piece) });
 *     picker.join(peer);
 *     picker.have(peer, 7);
 *     for (const block of picker.pick(peer, 16, { now })) peer.request(block.piece, block.offset, block.length);
 *     for (const other of picker.received(peer, 7, 0)) other.cancel(7, 0, 16_384);
 */
export type { Block, Picker, PickerOptions, PickerPeer, PickLimits } from './contract.ts';
export { createPicker } from './picker.ts';
export { type PipelineInput, pipelineBlocks } from './pipeline.ts';
