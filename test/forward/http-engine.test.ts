import { createHttpEngine } from "../../src/forward/http-engine.ts";
import { describeEngine } from "./engine-suite.ts";

describeEngine("the engine on node:http", createHttpEngine);
