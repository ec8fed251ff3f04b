import { slice, squeeze, type Tensor1D } from '@tensorflow/tfjs-core';
import { SdaError } from '../errors.js';
import type { StepRule } from '../method/rule.js';
import type { Tap, Tapped, TappedModel } from '../method/taps.js';

/** What a rule reads inside the model of one of its streams: see `Tap`. */
export interface NamedTap<Stream extends string> extends Omit<Tap, 'stream'> {
  readonly stream: Stream;
}

/** What a rule reads for a query, by its settings: asked once, before anything runs. */
export type RuleTaps<Stream extends string, S> = (
  settings: S,
  models: Readonly<Record<Stream, TappedModel>>,
) => readonly NamedTap<Stream>[];

/**
 * The taps of a rule as its step has them.
 *
 * @throws SdaError `bad-input` for a tap of another stream
 */
export function stepTaps<Stream extends string, S>(
  rule: string,
  streams: readonly Stream[],
  taps: RuleTaps<Stream, S>,
): NonNullable<StepRule<S>['taps']> {
  return (settings, models) => {
    const named = Object.fromEntries(streams.map((name, index) => [name, models[index]!]));
    return taps(settings, named as Record<Stream, TappedModel>).map(({ stream, after, of }) => {
      const place = streams.indexOf(stream);
      if (place >= 0) return { stream: place, after, of };
      throw new SdaError(
        'bad-input',
        `The rule ${rule} reads layers of the stream "${stream}": its streams are ${streams.join(', ')}.`,
      );
    });
  };
}

/**
 * What a step has read for a rule that has taps.
 *
 * @throws SdaError `bad-input` where the step was taken without them
 */
export function tappedFor(rule: string, tapped: Tapped | undefined): Tapped {
  if (tapped) return tapped;
  throw new SdaError(
    'bad-input',
    `The rule ${rule} reads layers of its model, which this step was not given: decode with it, or give tapped.`,
  );
}

/** What was read for one query, in the order of its taps, each float32 [hidden] or [V]; the caller's. */
export function linesOf({ taps, read }: Tapped, query: number): Tensor1D[] {
  return taps[query]!.map((tap) => squeeze(slice(read(tap), [query, 0], [1, -1]), [0]));
}
