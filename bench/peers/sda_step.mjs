/** The SDA step (equations 4 to 8) and the draw in JavaScript, over logits as node-llama-cpp gives them. */
const K = 2;
const A = 0.2;
const [T0, SIGMA, T_MIN] = [0.6, 0.01, 0.2];
const TOP_P = 0.95;

/** @returns a function from two maps (token to logit) to the drawn token */
export function drawToken({ greedy, seed }) {
  const random = generator(seed);
  return (base, instructed) => {
    const logP1 = logSoftmax(base);
    const logP2 = logSoftmax(instructed);
    const temperature = Math.max(T_MIN, T0 * 0.5 ** (divergence(logP1, logP2) / SIGMA));
    const steered = logP2.map((value, id) => value + K * A * (value - logP1[id]));
    if (greedy) return likeliest(steered);
    const top = steered.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
    return nucleus(
      steered.map((value) => Math.exp((value - top) / temperature)),
      random(),
    );
  };
}

function logSoftmax(logits) {
  const values = new Float32Array(logits.size);
  for (const [token, logit] of logits) values[token] = logit;
  const top = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  let sum = 0;
  for (const value of values) sum += Math.exp(value - top);
  const logZ = top + Math.log(sum);
  return values.map((value) => value - logZ);
}

function divergence(logP1, logP2) {
  let twice = 0;
  for (let id = 0; id < logP1.length; id++) {
    const [p1, p2] = [Math.exp(logP1[id]), Math.exp(logP2[id])];
    const logM = Math.log((p1 + p2) / 2);
    if (p1 > 0) twice += p1 * (logP1[id] - logM);
    if (p2 > 0) twice += p2 * (logP2[id] - logM);
  }
  return Math.max(0, twice / 2);
}

function likeliest(values) {
  let best = 0;
  for (let id = 1; id < values.length; id++) if (values[id] > values[best]) best = id;
  return best;
}

/** top-p over weights of at most 1; sorts only those that can matter. */
function nucleus(weights, uniform) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  // what is below this can, all together, not reach the mass outside the nucleus
  const least = ((1 - TOP_P) * total) / weights.length;
  const ids = [];
  for (let id = 0; id < weights.length; id++) if (weights[id] >= least) ids.push(id);
  ids.sort((a, b) => weights[b] - weights[a] || a - b);
  let mass = 0;
  const kept = ids.findIndex((id) => {
    mass += weights[id];
    return mass >= TOP_P * total;
  });
  let left = uniform * mass;
  return ids.slice(0, kept + 1).find((id) => {
    left -= weights[id];
    return left < 0;
  });
}

/** mulberry32: good enough to draw with. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
