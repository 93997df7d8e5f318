/** How long accounts are kept. */
import { duration, withDefault } from '#config';

export const accountOptions = {
  'report.keep': withDefault(
    duration,
    '400d',
    "how long the sums of 'shoal report' are kept, by image and day",
  ),
} as const;
