import {
  add,
  concat,
  matMul,
  mul,
  neg,
  reshape,
  sigmoid,
  slice,
  softmax,
  split,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tensor,
  tidy,
  transpose,
} from '@tensorflow/tfjs-core';
import { SdaError } from '../../src/errors.js';
import { attr, executeOp, TfDtype } from '../../src/runtime/backend.js';
import { castTo, gatherLines, int32Tensor, toFloat32 } from '../../src/runtime/device-tensors.js';
import { linearReference, rmsNormReference } from '../linear/reference.js';
import type {
  DecoderLayer,
  DecoderLayersAttrs,
  DecoderLayersInputs,
  LayerCache,
} from './contract.js';

/** Added to the score of a slot that a token may not see: finite, so that no softmax is 0 / 0. */
const MASKED = -1e30;

/** `decoderLayers` composed of TensorFlow operations: attention, then the gated MLP, of each layer. */
export function decoderLayersReference(
  inputs: DecoderLayersInputs,
  { layers, caches }: DecoderLayersAttrs,
): Tensor[] {
  const positions = inputs.positions.dataSync() as Int32Array;
  const rows = inputs.rows.dataSync() as Int32Array;
  const angles = inputs.rotation.shape[0];
  for (const cache of caches) checkIndices(positions, rows, cache, angles);
  let { x } = inputs;
  layers.forEach((layer, index) => {
    const y = tidy(() => gatedMlp(attention({ ...inputs, x }, layer, caches[index]!), layer));
    if (index > 0) x.dispose();
    x = y;
  });
  return [x];
}

/** x + norm(o(attention(norm(x)))); the caches are TensorFlow variables updated in place. */
function attention(inputs: DecoderLayersInputs, layer: DecoderLayer, cache: LayerCache): Tensor2D {
  return tidy(() => {
    const { x } = inputs;
    const { inputNorm, queryNorm, keyNorm, qkvProj, qkvBias, oProj, oBias } = layer.tensors;
    const { attentionOutputNorm: outputNorm } = layer.tensors;
    const { numHeads, numKeyValueHeads: kvHeads, headDim, window, rotates, epsilon } = layer.shape;
    const { capacity } = cache;
    const [R, T] = inputs.positions.shape;
    const positions = inputs.positions.dataSync() as Int32Array;
    const rows = inputs.rows.dataSync() as Int32Array;
    const rotation = gatherLines(
      inputs.rotation,
      positions.map((p) => Math.max(p, 0)),
    );

    const qkv = linearOf(x, qkvProj, { bias: qkvBias, norm: inputNorm, epsilon });
    const sizes = [numHeads * headDim, kvHeads * headDim, kvHeads * headDim];
    const [flatQ, flatK, flatV] = split(qkv, sizes, 1);
    const heads = (flat: Tensor, count: number) => reshape(flat, [R * T, count, headDim]);
    const turned = (flat: Tensor, count: number, norm: Tensor1D | undefined) => {
      const together = norm !== undefined && norm.size > headDim;
      const whole = together ? rmsNormReference(flat, norm, epsilon) : flat;
      const each = normHeads(heads(whole, count), together ? undefined : norm, epsilon);
      return rotates ? rotate(each, rotation) : each;
    };
    const q = turned(flatQ!, numHeads, queryNorm);
    const k = turned(flatK!, kvHeads, keyNorm);
    const v = heads(flatV!, kvHeads);

    const slots = slotIndices(positions, rows, T, kvHeads);
    append(cache, 'keys', k, slots);
    append(cache, 'values', v, slots);

    const keys = gatherRows(cache, 'keys', rows); // [R, kvHeads, C, D]
    const values = gatherRows(cache, 'values', rows);
    const group = numHeads / kvHeads;
    // [R, T, kvHeads, group, D] -> [R, kvHeads, group * T, D]: the queries that share a key-value head
    const grouped = reshape(
      transpose(reshape(q, [R, T, kvHeads, group, headDim]), [0, 2, 3, 1, 4]),
      [R, kvHeads, group * T, headDim],
    );
    const scores = mul(matMul(grouped, keys, false, true), 1 / Math.sqrt(headDim));
    const mask = visibility(positions, [R, T], capacity, window); // [R, 1, 1, T, C]
    const masked = add(reshape(scores, [R, kvHeads, group, T, capacity]), mask);
    const weights = reshape(softmax(masked), [R, kvHeads, group * T, capacity]);
    const mixed = reshape(matMul(weights, values), [R, kvHeads, group, T, headDim]);
    const joined = reshape(transpose(mixed, [0, 3, 1, 2, 4]), [R * T, numHeads * headDim]);
    return addOutput(x, joined as Tensor2D, oProj, { bias: oBias, norm: outputNorm, epsilon });
  });
}

/** x + norm(down(silu(gate(h)) * up(h))) with h = norm(x) */
function gatedMlp(x: Tensor2D, { tensors, shape: { epsilon } }: DecoderLayer): Tensor2D {
  return tidy(() => {
    const { mlpNorm: norm, gateUpProj, gateUpBias, downProj, downBias, mlpOutputNorm } = tensors;
    const gateUp = linearOf(x, gateUpProj, { bias: gateUpBias, norm, epsilon });
    const [gate, up] = split(gateUp, 2, 1);
    const activations = mul(mul(gate!, sigmoid(gate!)), up!) as Tensor2D;
    return addOutput(x, activations, downProj, { bias: downBias, norm: mlpOutputNorm, epsilon });
  });
}

/** x + norm(h weight^T + bias), the norm only where there is one. */
function addOutput(
  x: Tensor2D,
  h: Tensor2D,
  weight: Tensor2D,
  { bias, norm, epsilon }: Omit<Around, 'residual'> & { readonly epsilon: number },
): Tensor2D {
  if (!norm) return linearOf(h, weight, { bias, residual: x });
  return add(x, rmsNormReference(linearOf(h, weight, { bias }), norm, epsilon));
}

interface Around {
  readonly bias?: Tensor1D | undefined;
  readonly norm?: Tensor1D | undefined;
  readonly epsilon?: number;
  readonly residual?: Tensor2D;
}

/** norm(x) weight^T + bias + residual */
function linearOf(x: Tensor2D, weight: Tensor2D, around: Around): Tensor2D {
  const { bias, norm, residual, epsilon = 0 } = around;
  return linearReference({ x, weight, bias, norm, residual }, { epsilon })[0] as Tensor2D;
}

function normHeads(x: Tensor, weight: Tensor1D | undefined, epsilon: number): Tensor {
  return weight ? rmsNormReference(x, weight, epsilon) : x;
}

/** Rotary embedding in the half-split form of the Hugging Face checkpoints: [N, heads, D]. */
function rotate(x: Tensor, rotation: Tensor): Tensor {
  const [tokens, , headDim] = x.shape as [number, number, number];
  const half = headDim / 2;
  const cos = reshape(slice(rotation, [0, 0], [tokens, half]), [tokens, 1, half]);
  const sin = reshape(slice(rotation, [0, half], [tokens, half]), [tokens, 1, half]);
  const [a, b] = split(x, 2, 2);
  return concat([add(mul(a!, cos), neg(mul(b!, sin))), add(mul(b!, cos), mul(a!, sin))], 2);
}

/** Where each new token's keys go: (token, [row, head, slot] per head), without the padding. */
function slotIndices(positions: Int32Array, rows: Int32Array, T: number, kvHeads: number) {
  const tokens: number[] = [];
  const indices: number[] = [];
  positions.forEach((position, token) => {
    if (position < 0) return;
    tokens.push(token);
    for (let head = 0; head < kvHeads; head++) {
      indices.push(rows[Math.floor(token / T)]!, head, position);
    }
  });
  return { tokens, indices, kvHeads };
}

function append(
  cache: LayerCache,
  part: 'keys' | 'values',
  x: Tensor,
  slots: ReturnType<typeof slotIndices>,
): void {
  const { tokens, indices, kvHeads } = slots;
  const [, , headDim] = x.shape as [number, number, number];
  const kept = gatherLines(x, Int32Array.from(tokens));
  const lines = reshape(kept, [tokens.length * kvHeads, headDim]);
  const updates = cache.dtype === 'float32' ? lines : castTo(lines, cache.dtype);
  const where = int32Tensor(Int32Array.from(indices), [tokens.length * kvHeads, 3]);
  executeOp('ResourceScatterNdUpdate', [], [cache[part], where, updates], 0);
}

/** Some rows of a cache, float32. */
function gatherRows(cache: LayerCache, part: 'keys' | 'values', rows: Int32Array): Tensor {
  const dtype = attr.type('dtype', TfDtype[cache.dtype]);
  const all = executeOp('ReadVariableOp', [dtype], [cache[part]])[0]!;
  const inOrder = rows.length === cache.rows && rows.every((row, i) => row === i);
  return toFloat32(inOrder ? all : gatherLines(all, rows));
}

/** 0 where a token may look, `MASKED` elsewhere. Padding looks at slot 0, so that no line is all masked. */
function visibility(
  positions: Int32Array,
  [R, T]: readonly [number, number],
  capacity: number,
  window: number,
): Tensor {
  const mask = new Float32Array(R * T * capacity).fill(MASKED);
  positions.forEach((position, token) => {
    const last = Math.max(position, 0);
    const first = window > 0 ? Math.max(0, last - window + 1) : 0;
    mask.fill(0, token * capacity + first, token * capacity + last + 1);
  });
  return tensor(mask, [R, 1, 1, T, capacity]);
}

function checkIndices(
  positions: Int32Array,
  rows: Int32Array,
  cache: LayerCache,
  angles: number,
): void {
  const { capacity, rows: cacheRows } = cache;
  const position = positions.find((p) => p < -1 || p >= capacity);
  if (position !== undefined) {
    throw new SdaError(
      'bad-tensor',
      `decoderLayers: positions must lie in -1..${capacity - 1} (the cache's capacity), but one is ${position}.`,
    );
  }
  const beyond = positions.find((p) => p >= angles);
  if (beyond !== undefined) {
    throw new SdaError(
      'bad-tensor',
      `decoderLayers: rotation has ${angles} lines, but a token stands at ${beyond}.`,
    );
  }
  const row = rows.find((r) => r < 0 || r >= cacheRows);
  if (row !== undefined) {
    throw new SdaError(
      'bad-tensor',
      `decoderLayers: rows must lie in 0..${cacheRows - 1}, but one is ${row}.`,
    );
  }
  const T = positions.length / rows.length;
  const taken = new Set<string>();
  positions.forEach((position, token) => {
    if (position < 0) return;
    const place = `position ${position} of row ${rows[Math.floor(token / T)]}`;
    if (taken.has(place)) {
      throw new SdaError(
        'bad-tensor',
        `decoderLayers: each token must stand at a place of its own, but two stand at ${place}.`,
      );
    }
    taken.add(place);
  });
}
