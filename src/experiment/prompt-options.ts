import { type ExperimentConfig, instructionOf } from './config.js';
import type { RowFailure } from './rows.js';

/** How the prompts of an experiment are made, beside the query. */
export function promptOptions(config: ExperimentConfig) {
  const { placement, system, fold_system, date, template_variables } = config.prompt;
  return {
    placement,
    system,
    foldSystem: fold_system,
    date: new Date(`${date}T12:00:00`),
    templateVariables: template_variables,
    instruction: instructionOf(config),
  };
}

/** Why prompts leave no room for a token; null where they do. */
export function tooLong(
  prompts: readonly (readonly number[])[],
  maxContext: number,
): RowFailure | null {
  const longest = Math.max(...prompts.map((ids) => ids.length));
  if (longest < maxContext) return null;
  const reason = `The prompt has ${longest} tokens, but the context holds ${maxContext}.`;
  return { kind: 'bad-prompt', reason };
}
