import { RULES, ruleNamed } from '../../src/rules/catalogue.js';
import { OF_CONTEXTS } from './published/contexts.js';
import type { Published } from './published/form.js';
import { OF_MODELS } from './published/models.js';
import { OF_PROMPTS } from './published/prompts.js';
import { OF_SDA } from './published/sda.js';
import { OF_BIASES, SEVERAL } from './published/several.js';

export type { Published } from './published/form.js';

const METHODS = { ...OF_SDA, ...OF_PROMPTS, ...OF_CONTEXTS, ...OF_MODELS, ...OF_BIASES };

/** All rules of the catalogue, and one of each factory; but for DoLa, whose rows are layers: see dola.test.ts. */
export const PUBLISHED: readonly Published[] = [
  ...RULES.filter(({ name }) => name !== 'dola').map(({ name }) => ({
    ...METHODS[name]!,
    rule: ruleNamed(name),
  })),
  ...SEVERAL,
];
