import type { Lab } from '../lab.js';
import { chain } from './chain.js';
import { ecmp } from './ecmp.js';
import { hello } from './hello.js';

/** Every lab, in the order in which `lab list` shows them. */
export const labs: readonly Lab[] = [hello, chain, ecmp];
