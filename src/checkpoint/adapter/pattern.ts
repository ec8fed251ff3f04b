import { SdaError } from '../../errors.js';

/** Names of modules have up to about 60 characters, and patterns of them no need for more. */
const MOST_CHARACTERS = 300;
/** With so many, a search takes no more than the length of a name to this power. */
const MOST_QUANTIFIERS = 3;

/**
 * A key of `rank_pattern` or `alpha_pattern`: a regular expression for the end of a module's name, as PEFT's
 * `get_pattern_key` has it.
 * @throws SdaError `bad-config` for one that is none, `unsupported` for one whose search could take long
 */
export function patternOf(source: string, file: string): RegExp {
  const bare = source.replace(/\\./g, 'x').replace(/\[[^\]]*\]/g, 'x');
  const quantifiers = bare.match(/[*+{]|(?<!\()\?/g)?.length ?? 0;
  if (source.length > MOST_CHARACTERS || quantifiers > MOST_QUANTIFIERS || /\)[*+{]/.test(bare)) {
    throw new SdaError(
      'unsupported',
      `${file} has the pattern ${JSON.stringify(source)} where names of modules with at most ${MOST_QUANTIFIERS} repetitions, none of them of a group, are read; name the modules.`,
    );
  }
  try {
    return new RegExp(`^(?:.*\\.)?(?:${source})$`);
  } catch (error) {
    throw new SdaError(
      'bad-config',
      `${file} has the pattern ${JSON.stringify(source)}, which is no regular expression; correct it.`,
      { cause: error },
    );
  }
}
