// The signing page: loads what is to be signed, has it signed by the agent, and sends the signatures.
// Nothing happens before a click, and a signature that was made is never thrown away before it was answered.

import { Agent, AgentError } from './agent.js';
import { words } from './words.js';

const SEND_PAUSES_MS = [1_000, 2_000, 4_000];
const ANSWER_MS = 240_000; // a document inside its signature takes minutes over a slow line

const language = document.documentElement.lang;
const say = words[language] ?? words.ru;
const base = location.pathname.replace(/\/+$/, '');
const main = document.querySelector('main');
const signButton = document.getElementById('sign');
const renewBox = document.getElementById('renew-box');
const renewButton = document.getElementById('renew');
const status = document.getElementById('status');
let isOver = false; // the link opens nothing any more
const how = {
  iin: main.dataset.iin,
  bin: main.dataset.bin,
  locale: language === 'kk' ? 'kk' : 'ru',
};

// The link itself does not work any more: nothing further can be done on this page.
class LinkError extends Error {
  constructor(code, message) {
    super(code);
    this.code = code;
    this.words = message;
  }
}

// The server could not be reached, or could not take it now.
class Unreached extends Error {}

const documents = [...document.querySelectorAll('[data-document]')].map((element) => ({
  element,
  id: element.dataset.document,
  unit: Number(element.dataset.unit),
  digest: element.dataset.digest,
  attached: element.dataset.encapsulate === 'attached',
  isSigned: element.dataset.state === 'signed',
  box: element.querySelector('input[type=checkbox]'),
  outcome: element.querySelector('.outcome'),
  content: null,
  cms: null,
}));

function tell(kind, text, detail = '') {
  status.className = kind;
  status.querySelector('.text').textContent = text;
  const more = status.querySelector('.detail');
  more.textContent = detail.slice(0, 300);
  more.hidden = detail === '';
  status.hidden = false;
  status.dataset.kind = kind;
}

function tellAt(doc, kind, text) {
  doc.outcome.className = `outcome ${kind}`;
  doc.outcome.textContent = text;
}

function setBusy(isBusy) {
  main.setAttribute('aria-busy', String(isBusy));
  if (signButton) signButton.disabled = isBusy;
  for (const doc of documents) if (doc.box) doc.box.disabled = isBusy || doc.isSigned;
}

function markSigned(doc) {
  doc.isSigned = true;
  doc.cms = null;
  doc.content = null;
  doc.element.dataset.state = 'signed';
  if (doc.box) doc.box.checked = false;
  doc.element.querySelector('.view')?.remove();
  tellAt(doc, 'ok', say.signed);
}

const unsent = () => documents.filter((doc) => doc.cms !== null);
const open = () => documents.filter((doc) => !doc.isSigned);
const wanted = () => open().filter((doc) => doc.box === null || doc.box.checked);

async function problemOf(response) {
  try {
    const body = await response.json();
    return new LinkError(body.code, body.message?.[language] ?? body.message?.ru ?? say.unexpected);
  } catch {
    return new LinkError('unexpected', say.unexpected);
  }
}

async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS), ...options });
  } catch {
    throw new Unreached(say.unreachable);
  }
  if (response.status === 429 || response.status >= 500) throw new Unreached(say.busy);
  if (!response.ok) throw await problemOf(response);
  return response;
}

const postJson = (url, value) =>
  ask(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(value) });

// --- loading ---------------------------------------------------------------------------------------------------

async function digestOf(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function base64Of(bytes) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
    reader.onerror = () => reject(new Unreached(say.damaged));
    reader.readAsDataURL(new Blob([bytes]));
  });
}

async function load(doc) {
  if (doc.content !== null) return;
  const response = await ask(`${base}/content/${doc.id}`);
  let bytes;
  try {
    bytes = await response.arrayBuffer();
  } catch {
    throw new Unreached(say.unreachable);
  }
  // without https there is no digest to be had here; the server compares in any case
  if (globalThis.crypto?.subtle && (await digestOf(bytes)) !== doc.digest) throw new Unreached(say.damaged);
  doc.content = await base64Of(bytes);
}

// --- sending ---------------------------------------------------------------------------------------------------

// Posts one signature until it is answered. A repeat is harmless: the server knows the same signature again.
async function send(doc) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const body = { documents: [{ document: doc.id, unit: doc.unit, cms: doc.cms }] };
      const answer = await (await postJson(base, body)).json();
      return answer.documents[0];
    } catch (error) {
      if (error instanceof LinkError) throw error;
      if (attempt >= SEND_PAUSES_MS.length) throw new Unreached(say.unsent);
      tell('busy', say.again);
      await new Promise((resolve) => setTimeout(resolve, SEND_PAUSES_MS[attempt]));
    }
  }
}

async function deliver(doc) {
  tell('busy', say.sending);
  const row = await send(doc);
  if (row.accepted) {
    markSigned(doc);
    return { isRepeated: row.repeated };
  }
  if (row.code === 'busy' || row.code === 'content_unavailable') throw new Unreached(say.unsent);
  doc.cms = null;
  if (row.code === 'expired' && renewBox) renewBox.hidden = false;
  tellAt(doc, 'bad', row.code === 'already_signed' ? say.elsewhere : row.message[language] ?? row.message.ru);
  return { refused: row.code };
}

// --- signing ---------------------------------------------------------------------------------------------------

async function signTogether(agent, docs) {
  tell('busy', say.signing);
  const ways = new Set(docs.map((doc) => doc.attached));
  if (docs.length < 2 || ways.size > 1) return docs;
  const list = await agent.signTogether(docs.map((doc) => doc.content), { ...how, attached: docs[0].attached });
  if (list === null) return docs;
  docs.forEach((doc, n) => {
    doc.cms = list[n];
  });
  const broken = [];
  for (const doc of docs) {
    const { refused } = await deliver(doc);
    // an old agent may take a list for one text: then each document is signed by itself
    if (refused === 'foreign_content' || refused === 'unreadable' || refused === 'not_cms') broken.push(doc);
  }
  return broken;
}

async function signEach(agent, docs) {
  const outcomes = [];
  for (const doc of docs) {
    tell('busy', say.signing);
    doc.cms = await agent.signOne(doc.content, { ...how, attached: doc.attached });
    outcomes.push(await deliver(doc));
  }
  return outcomes;
}

async function signWith(docs) {
  tell('busy', say.connecting);
  const agent = await Agent.connect(main.dataset.agent);
  try {
    tell('busy', say.loading);
    for (const doc of docs) await load(doc);
    return await signEach(agent, await signTogether(agent, docs));
  } finally {
    agent.close();
  }
}

function conclude(docs, outcomes) {
  const signed = docs.filter((doc) => doc.isSigned).length;
  if (signed < docs.length) {
    const only = docs.length === 1 ? docs[0].outcome.textContent : '';
    if (documents.length === 1) tellAt(documents[0], '', ''); // once is enough
    tell('bad', only || say.partly(signed, docs.length));
  } else if (open().length > 0) {
    tell('ok', say.doneSoFar(signed, open().length)); // what was not marked still waits
  } else if (outcomes.length === 1 && docs.length === 1 && outcomes[0].isRepeated) {
    tell('ok', say.doneRepeated);
  } else {
    tell('ok', signed > 1 ? say.doneMany(signed) : say.done);
  }
}

function explain(error) {
  if (error instanceof AgentError) {
    tell(error.kind === 'cancelled' ? 'note' : 'bad', say.agent[error.kind], error.detail);
    status.dataset.reason = error.kind;
  } else if (error instanceof LinkError) {
    tell('bad', error.words);
    status.dataset.reason = error.code;
    isOver = true;
    if (error.code === 'expired' && renewBox) renewBox.hidden = false;
  } else if (error instanceof Unreached) {
    tell('bad', error.message);
    status.dataset.reason = 'unreached';
  } else {
    tell('bad', say.unexpected);
    throw error;
  }
}

async function act() {
  const docs = unsent().length > 0 ? unsent() : wanted();
  delete status.dataset.reason;
  if (docs.length === 0) return tell('note', say.choose);
  setBusy(true);
  for (const doc of docs) tellAt(doc, '', '');
  try {
    const outcomes = [];
    if (unsent().length > 0) for (const doc of docs) outcomes.push(await deliver(doc));
    else outcomes.push(...(await signWith(docs)));
    conclude(docs, outcomes);
  } catch (error) {
    explain(error);
  } finally {
    setBusy(false);
    signButton.textContent = unsent().length > 0 ? say.sendAgain : say.signAgain;
    signButton.hidden = isOver || open().length === 0;
    status.focus();
  }
}

async function renew() {
  renewButton.disabled = true;
  try {
    const answer = await (await postJson(`${base}/renew`, {})).json();
    tell(answer.sent ? 'ok' : 'note', answer.sent ? say.renewed : say.renewedByHand);
  } catch (error) {
    explain(error);
    renewButton.disabled = false;
  }
  status.focus();
}

for (const moment of document.querySelectorAll('time[datetime]')) {
  const at = new Date(moment.dateTime);
  if (!Number.isNaN(at.valueOf())) {
    // browsers know no names of Kazakh months; numbers are written as in Russian
    const [locale, dateStyle] = language === 'kk' ? ['ru', 'short'] : [language, 'long'];
    moment.textContent = at.toLocaleString(locale, { dateStyle, timeStyle: 'short' });
  }
}
signButton?.addEventListener('click', act);
renewButton?.addEventListener('click', renew);
addEventListener('beforeunload', (event) => {
  if (unsent().length > 0) event.preventDefault();
});
if (signButton) signButton.disabled = false;
document.documentElement.dataset.ready = 'yes';
