import { stat as inspect, readFile as read, realpath as resolve } from "node:fs";
import { promisify } from "node:util";

/*
 * The promises of node:fs that a start needs. node:fs/promises has the same ones, and loading it takes 1 ms of the start.
 */

export const readFile = promisify(read);
export const realpath = promisify(resolve);
export const stat = promisify(inspect);
