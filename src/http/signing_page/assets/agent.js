// The signing agent on the signer's computer: NCALayer, or KAZTOKEN which speaks as it does.
// Text frames with one JSON value each, no request ids: one request at a time.

const CONNECT_MS = 120_000; // the browser may be asking the person for its permission
const GREETING_MS = 10_000;
const PROBE_MS = 3_000;
const QUESTION_MS = 30_000;
const SIGNATURE_MS = 15 * 60_000; // a person looks for a key and types a password
const SIGNING_KEY = '1.3.6.1.5.5.7.3.4';
const BASICS = 'kz.gov.pki.knca.basics';
const COMMON_UTILS = 'kz.gov.pki.knca.commonUtils';
const KAZTOKEN = 'kz.digiflow.mobile.extensions';

// kinds: absent, permission, silent, closed, cancelled, outdated, failed
export class AgentError extends Error {
  constructor(kind, detail = '') {
    super(kind);
    this.kind = kind;
    this.detail = detail;
  }
}

// The agent does not know what it was asked: an older way has to be tried.
class Unknown extends Error {}

const isGreeting = (frame) => typeof frame?.result?.version === 'string';
const isUnknownModule = (frame) => frame?.success === false || frame?.status === undefined;

async function isRefusedByBrowser() {
  for (const name of ['loopback-network', 'local-network-access']) {
    try {
      const permission = await navigator.permissions.query({ name });
      if (permission.state === 'denied') return true;
    } catch {
      // a browser that does not know the name does not ask for it
    }
  }
  return false;
}

export class Agent {
  static async connect(url) {
    if (await isRefusedByBrowser()) throw new AgentError('permission');
    const agent = new Agent(url);
    try {
      await agent.opened();
      await agent.greeted();
      await agent.probe();
      return agent;
    } catch (error) {
      agent.close();
      if (error instanceof AgentError && error.kind === 'absent' && (await isRefusedByBrowser())) {
        throw new AgentError('permission');
      }
      throw error;
    }
  }

  constructor(url) {
    this.frames = [];
    this.waiting = null;
    this.gone = null;
    this.probeOwed = false;
    this.isKaztoken = false;
    try {
      this.socket = new WebSocket(url);
    } catch {
      throw new AgentError('absent');
    }
    // set before anything can arrive, so that the greeting is not lost
    this.socket.onmessage = (event) => this.arrived(event.data);
    this.socket.onclose = () => this.ended();
  }

  close() {
    this.socket.onclose = null;
    this.socket.onmessage = null;
    this.socket.close();
  }

  opened() {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new AgentError('absent')), CONNECT_MS);
      this.socket.onopen = () => {
        clearTimeout(timer);
        this.gone = 'closed';
        resolve();
      };
      this.failed = () => {
        clearTimeout(timer);
        reject(new AgentError('absent'));
      };
    });
  }

  ended() {
    if (this.gone === null) return this.failed?.();
    this.isOver = true;
    this.waiting?.(null);
  }

  arrived(data) {
    let frame = null;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (this.waiting) this.waiting(frame);
    else this.frames.push(frame);
  }

  // The next frame, or null when the time is over.
  next(ms) {
    if (this.frames.length > 0) return Promise.resolve(this.frames.shift());
    if (this.isOver) return Promise.reject(new AgentError('closed'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting = null;
        resolve(null);
      }, ms);
      this.waiting = (frame) => {
        clearTimeout(timer);
        this.waiting = null;
        if (frame === null) reject(new AgentError('closed'));
        else resolve(frame);
      };
    });
  }

  async greeted() {
    const until = Date.now() + GREETING_MS;
    for (;;) {
      const frame = await this.next(Math.max(until - Date.now(), 0));
      if (frame === null) throw new AgentError('silent');
      if (isGreeting(frame)) return;
    }
  }

  // Whoever knows this module is KAZTOKEN; NCALayer answers that it has no such module.
  async probe() {
    this.socket.send(JSON.stringify({ module: KAZTOKEN, method: 'getVersion' }));
    const frame = await this.next(PROBE_MS);
    this.probeOwed = frame === null;
    this.isKaztoken = frame !== null && (frame.success === true || isGreeting(frame));
  }

  async ask(request, ms) {
    this.frames.length = 0;
    this.socket.send(JSON.stringify(request));
    for (;;) {
      const frame = await this.next(ms);
      if (frame === null) throw new AgentError('silent');
      if (this.probeOwed && frame.status === undefined && frame.code === undefined) {
        this.probeOwed = false;
        continue;
      }
      return frame;
    }
  }

  // Signatures of `contents` (Base64) in the same order; fewer of them, or null, if the agent answered otherwise.
  async signAll(contents, how) {
    const data = contents.length === 1 ? contents[0] : contents;
    const result = await this.basics(data, how);
    const list = Array.isArray(result) ? result : [result];
    const isWhole = list.length === contents.length && list.every((cms) => typeof cms === 'string' && cms);
    return isWhole ? list : null;
  }

  // One signature, by the present module or by the old one.
  async signOne(content, how) {
    if (!this.isOld) {
      try {
        const list = await this.signAll([content], how);
        if (list === null) throw new AgentError('failed');
        return list[0];
      } catch (error) {
        if (!(error instanceof Unknown)) throw error;
        this.isOld = true;
      }
    }
    return this.commonUtils(content, how);
  }

  // Several signatures in one dialogue; null if this agent has to be asked one by one.
  async signTogether(contents, how) {
    if (this.isOld) return null;
    try {
      return await this.signAll(contents, how);
    } catch (error) {
      if (error instanceof Unknown) {
        this.isOld = true;
        return null;
      }
      if (error instanceof AgentError && error.kind === 'failed') return null;
      throw error;
    }
  }

  async basics(data, { attached, iin, bin, locale }) {
    const signerParams = { extKeyUsageOids: [SIGNING_KEY] };
    if (iin) signerParams.iin = iin;
    if (bin) signerParams.bin = bin;
    const frame = await this.ask(
      {
        module: BASICS,
        method: 'sign',
        args: {
          allowedStorages: null,
          format: 'cms',
          data,
          signingParams: { decode: true, encapsulate: attached, digested: false, tsaProfile: {} },
          signerParams,
          locale,
        },
      },
      SIGNATURE_MS,
    );
    if (frame.status === true) {
      const result = frame.body?.result;
      if (result === undefined || result === null) throw new AgentError('cancelled');
      return result;
    }
    if (isUnknownModule(frame)) throw new Unknown();
    throw new AgentError('failed', [frame.message, frame.details].filter(Boolean).join(' '));
  }

  async commonUtils(content, { attached }) {
    const tokens = this.old(await this.ask({ module: COMMON_UTILS, method: 'getActiveTokens' }, QUESTION_MS));
    const storage = Array.isArray(tokens) && tokens.length > 0 ? tokens[0] : 'PKCS12';
    const args = [storage, 'SIGNATURE', content, attached];
    const frame = await this.ask({ module: COMMON_UTILS, method: 'createCAdESFromBase64', args }, SIGNATURE_MS);
    const cms = this.old(frame);
    if (typeof cms !== 'string' || !cms) throw new AgentError('failed');
    return cms;
  }

  old(frame) {
    if (frame.code === undefined) throw new AgentError('outdated');
    if (String(frame.code) === '200') return frame.responseObject;
    if (String(frame.message ?? '').toLowerCase() === 'action.canceled') throw new AgentError('cancelled');
    throw new AgentError('failed', frame.message ?? '');
  }
}
