"""Tables of a review queue. What is noted is never changed: triggers refuse it to every program."""

from __future__ import annotations

VERSION = 1

SCHEMA = """
create table item (
    number integer primary key, id text not null, question text not null, row text not null, labels text not null,
    scores text not null, value real not null, wanted integer not null,
    state text not null default 'open' check (state in ('open', 'disagreed', 'decided')), answer text,
    unique (id, question));
create index by_value on item (state, value desc, number);
create table lease (
    fence integer primary key autoincrement, item integer not null references item, person text not null,
    ends real not null, unique (item, person));
create table vote (
    fence integer primary key, item integer not null references item, person text not null, label text not null,
    note text not null, unique (item, person));
create table trail (number integer primary key autoincrement, body text not null, hash text not null);
create trigger trail_stays before update on trail begin select raise(abort, 'the trail is only appended to'); end;
create trigger trail_keeps before delete on trail begin select raise(abort, 'the trail is only appended to'); end;
create trigger vote_stays before update on vote begin select raise(abort, 'votes are not changed'); end;
create trigger vote_keeps before delete on vote begin select raise(abort, 'votes are not removed'); end;
"""
