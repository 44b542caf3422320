import type { Lab } from '../lab.js';
import { attack } from './attack.js';
import { blocked } from './blocked.js';
import { chain } from './chain.js';
import { ecmp } from './ecmp.js';
import { hello } from './hello.js';
import { mtu } from './mtu.js';
import { restart } from './restart.js';
import { stripped } from './stripped.js';
import { transcode } from './transcode.js';

/** Every lab, in the order in which `lab list` shows them. */
export const labs: readonly Lab[] = [hello, chain, ecmp, stripped, blocked, restart, mtu, attack, transcode];
