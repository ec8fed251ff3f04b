import type { AnsweringModel } from '../generate/answering.js';
import { prepare } from '../generate/request.js';
import type { SdaModel } from '../generate/sda-model.js';
import type { GenerateRequest, GenerateSummary } from '../generate/types.js';
import type { Rule } from '../rules/define.js';
import { type ExperimentConfig, itemSeed } from './config.js';
import { promptOptions, tooLong } from './prompt-options.js';
import type { Item, RowFailure } from './rows.js';
import { type RuleEntry, ruleOfEntry, settingsOf } from './rules.js';

/** What a rule answers by. */
interface Asked {
  readonly config: ExperimentConfig;
  readonly model: AnsweringModel;
  readonly models: Readonly<Record<string, SdaModel>>;
  /** Of the item's score; null where the rule takes none */
  readonly a: number | null;
}

/**
 * The request of an item to a rule: its prompts as token ids, so that an item that cannot be asked fails alone.
 *
 * @throws SdaError as `SdaModel.generate` for its prompts
 */
export async function ruleRequest(
  { id, query }: Item,
  entry: RuleEntry,
  { config, model, models, a }: Asked,
): Promise<GenerateRequest<Rule> | RowFailure> {
  const rule = ruleOfEntry(entry, config);
  const { instruction, negative, streams = {} } = entry;
  const { decoding } = config;
  const prompt = promptOptions(config);
  const request: GenerateRequest<Rule> = {
    ...prompt,
    instruction: instruction ?? prompt.instruction,
    query,
    negative,
    streams,
    rule,
    settings: settingsOf(entry, config, a ?? undefined),
    maxTokens: decoding.max_tokens,
    seed: itemSeed(config.seed, id),
    stop: decoding.stop,
  };
  const prepared = await prepare(model, request, { models });
  const prompts = prepared.query.streams;
  const context = Math.min(...[model, ...Object.values(models)].map((each) => each.maxContext));
  const ids = Object.keys(rule.streams).map((stream, index) => [stream, { ids: prompts[index]! }]);
  return tooLong(prompts, context) ?? { ...request, streams: Object.fromEntries(ids) };
}

/** The settings of a rule as a summary has them, without those of the request. */
export function ruleSettings(settings: GenerateSummary<Rule>['settings']): Record<string, unknown> {
  const {
    rule: _,
    seed: __,
    maxTokens: ___,
    date: ____,
    templateVariables: _____,
    ...own
  } = settings;
  return own;
}
