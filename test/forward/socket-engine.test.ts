import { createSocketEngine } from "../../src/forward/socket-engine.ts";
import { describeEngine } from "./engine-suite.ts";

describeEngine("the socket engine", createSocketEngine);
