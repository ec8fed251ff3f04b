import { choiceJson, settingsJson } from '../generate/json.js';
import type { GenerateSummary, StepOf } from '../generate/types.js';
import type { Rule } from '../rules/define.js';
import type { ScoredBase } from './scored.js';

/** What the field `sda` of an answer says of the whole request: what the base model answered, and a. */
export function scoredFields(scored: ScoredBase | undefined): object {
  if (!scored) return {};
  const { base, evaluator, score, amplification } = scored;
  const { text, answer } = base;
  return { sda: { evaluator, score, amplification, base: { text, answer } } };
}

/** What it says of one answer. */
export function answerFields(
  { settings, promptTokens, thinking, answer, answerFinished }: GenerateSummary<Rule>,
  steps?: readonly StepOf<Rule>[],
): object {
  return {
    sda: {
      rule: 'sda',
      settings: settingsJson(settings),
      prompt_tokens: promptTokens,
      ...(thinking !== '' && { thinking, answer, answer_finished: answerFinished }),
      ...('rule' in settings && { rule: settings.rule }),
      ...(steps && { trace: steps.map(traceOf) }),
    },
  };
}

/** What it says of one token. */
export function traceOf(step: StepOf<Rule>): object {
  const { step: number, text } = step;
  return { step: number, text, ...choiceJson(step) };
}
