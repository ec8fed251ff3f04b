import { checkVocabularies } from '../generate/request.js';
import type { LoadOptions, SdaModel } from '../generate/sda-model.js';
import { loadTokenizer } from '../text/tokenizer.js';
import type { ExperimentConfig } from './config.js';
import { modelFingerprint } from './identity.js';
import { modelsOf, type OtherModels, type RuleEntry, ruleOfEntry } from './rules.js';

/** All other models of a run: those of all its rules by their names, those of one as `rule.name`. */
export function otherModelsOf({
  models = {},
  rules = [],
}: Pick<ExperimentConfig, 'models' | 'rules'>): OtherModels {
  const ofRules = rules.flatMap(({ name: rule, models: own = {} }) =>
    Object.entries(own).map(([name, model]) => [`${rule}.${name}`, model] as const),
  );
  return { ...models, ...Object.fromEntries(ofRules) };
}

/** Tells the other models of a run apart, by the names of `otherModelsOf`. */
export async function otherFingerprints(models: OtherModels): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for (const [name, { dir }] of Object.entries(models)) all[name] = await modelFingerprint(dir);
  return all;
}

/**
 * That the other models of a run have the tokens of its own, before anything is decoded.
 *
 * @throws SdaError `unsupported` naming the first difference, and where a tokenizer cannot be read
 */
export async function checkOtherModels(config: ExperimentConfig, modelDir: string): Promise<void> {
  const dirs = [...new Set(Object.values(otherModelsOf(config)).map(({ dir }) => dir))];
  if (dirs.length === 0) return;
  const folder = (dir: string) => ({ dir, tokenizer: () => loadTokenizer(dir) });
  await checkVocabularies(folder(modelDir), dirs.map(folder));
}

/** The models that run streams of rules, each loaded when it is first needed. */
export class OtherModelsOfRun {
  /** By where they are and how they are read: rules share them */
  private readonly loaded = new Map<string, SdaModel>();

  constructor(
    private readonly config: Pick<ExperimentConfig, 'models' | 'ruleFiles'>,
    private readonly openModel: (dir: string, options: LoadOptions) => Promise<SdaModel>,
  ) {}

  /** Those of a rule, by its names for them. */
  async of(entry: RuleEntry | undefined): Promise<Record<string, SdaModel>> {
    const models: Record<string, SdaModel> = {};
    for (const name of entry ? modelsOf(ruleOfEntry(entry, this.config)) : []) {
      models[name] = await this.open((entry!.models?.[name] ?? this.config.models?.[name])!);
    }
    return models;
  }

  private async open(model: OtherModels[string]): Promise<SdaModel> {
    const key = JSON.stringify(model);
    const known = this.loaded.get(key);
    if (known) return known;
    const { dir, dtype, kv, context, chat_template: chatTemplate } = model;
    const opened = await this.openModel(dir, { dtype, kv, maxContext: context, chatTemplate });
    this.loaded.set(key, opened);
    return opened;
  }

  dispose(): void {
    for (const model of this.loaded.values()) model.dispose();
    this.loaded.clear();
  }
}
