import { SdaError } from '../errors.js';
import { adacad, cad } from './cad.js';
import { cd, cdBeta } from './cd.js';
import { cfg } from './cfg.js';
import { coiecd } from './coiecd.js';
import { cos } from './cos.js';
import type { Rule } from './define.js';
import { dexperts, proxyTuning } from './dexperts.js';
import { dola } from './dola.js';
import { edt } from './edt.js';
import { eft } from './eft.js';
import { instructiveDecoding } from './instructive-decoding.js';
import { linearAlignment } from './linear-alignment.js';
import { plain } from './plain.js';
import { preadd } from './preadd.js';
import { rose } from './rose.js';
import { sda } from './sda.js';
import { selfDebias } from './self-debiasing.js';

export { contextSteering } from './cos.js';
export { sdaSeveral } from './sda-several.js';
export { selfDebiasing } from './self-debiasing.js';

/**
 * Published methods that combine next-token distributions, with their published defaults. `contextSteering`, `sdaSeveral`
 * and `selfDebiasing` make rules for several contexts, instructions and biases.
 */
export const RULES = [
  sda,
  plain,
  edt,
  cfg,
  cad,
  adacad,
  coiecd,
  cos,
  cd,
  cdBeta,
  dexperts,
  proxyTuning,
  eft,
  linearAlignment,
  preadd,
  rose,
  instructiveDecoding,
  selfDebias,
  dola,
] as const;

/** @throws SdaError `bad-input` naming those that there are */
export function ruleNamed(name: string): Rule {
  const rule = RULES.find((each) => each.name === name);
  if (rule) return rule as unknown as Rule;
  throw new SdaError(
    'bad-input',
    `There is no rule "${name}": the rules are ${RULES.map((each) => each.name).join(', ')}.`,
  );
}
