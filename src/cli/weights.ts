import type { Command } from 'commander';
import { fetchDefaultModel } from '../import/default-model.js';
import { showSetup } from './setup-progress.js';

/** `sda weights`: fetches the default model. */
export function register(program: Command): void {
  program
    .command('weights')
    .description('fetch the default model, SmolLM2-135M-Instruct (93 MB), as a Hugging Face folder')
    .option('--force', 'fetch and convert it anew, whatever is there')
    .addHelpText(
      'after',
      `
Example:
  sda weights`,
    )
    .action(async (options: { force?: boolean }) => {
      await fetchDefaultModel({ force: options.force ?? false }, showSetup());
    });
}
