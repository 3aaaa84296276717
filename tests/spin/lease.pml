/*
 * The lease protocol of coordinator/schedule/scheduler.h, as small as it can be: the
 * coordinator, WORKERS workers, JOBS jobs, and a network that loses, doubles
 * and reorders.  Workers crash and come back as new ones; what they said
 * before may still arrive.  A worker may send a result that is wrong.
 *
 *	queued -> leased -> done; leased -> queued when the worker is gone or
 *	the lease is over, which may be while the worker still works.
 *
 * What must hold:
 *	once		a job's result is accepted at most once
 *	verified_only	what the manifest names was verified, for every job
 *	kept		a job is never lost: whatever is not done is queued, or
 *			leased to a worker that is thought to be there
 *	ends		where the last attempt is neither lost nor wrong, every
 *			job is done and the manifest is written
 *
 * MUTANT 1: results are not verified.  2: the manifest is written before all
 * jobs are done.  3: a second result is accepted.  4: a worker's leases are
 * forgotten when it goes.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#define JOBS 2
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 3 /* a job; the last one is neither lost nor wrong */
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#define NOBODY 9

mtype = { queued, leased, done };

mtype job[JOBS] = queued;
byte attempt[JOBS], owner[JOBS] = NOBODY, accepted[JOBS];
bool verified[JOBS], there[WORKERS] = true, manifest;
byte crashes;

/* A job's number and its attempt; and whether the bytes are right. */
chan work[WORKERS] = [2] of { byte, byte };
chan result = [3] of { byte, byte, bit };

#define LAST(j) (attempt[j] == ATTEMPTS)
#define ALL_DONE (job[0] == done && job[1] == done)

inline send_job(j, w)
{
	attempt[j]++;
	owner[j] = w;
	job[j] = leased;
	if
	:: nfull(work[w]) -> work[w]!j,attempt[j]
	:: !LAST(j) -> skip /* lost */
	fi
}

#define SEND(j, w)							\
	:: atomic { job[j] == queued && attempt[j] < ATTEMPTS &&	\
		there[w] && (attempt[j] + 1 < ATTEMPTS || nfull(work[w])) -> \
		send_job(j, w) }

inline take_result(j, good)
{
	if
	:: (good || MUTANT == 1) && (job[j] != done || MUTANT == 3) ->
		accepted[j]++;
		verified[j] = good;
		job[j] = done;
		owner[j] = NOBODY
	:: else -> skip
	fi
}

/* Its jobs go back to the queue. */
inline gone(w)
{
	byte k;

	for (k : 0 .. JOBS - 1) {
		if
		:: job[k] == leased && owner[k] == w ->
			owner[k] = NOBODY;
			if
			:: MUTANT != 4 -> job[k] = queued;
				if
				:: LAST(k) -> attempt[k]--
				:: else -> skip
				fi
			:: else -> skip
			fi
		:: else -> skip
		fi
	}
	k = 0
}

active proctype coordinator()
{
	byte j, a;
	bit good;

end:	do
	SEND(0, 0)
	SEND(0, 1)
	SEND(1, 0)
	SEND(1, 1)
#if WORKERS > 2
	SEND(0, 2)
	SEND(1, 2)
#endif
	/* The lease is over, perhaps too early. */
	:: atomic { job[0] == leased && !LAST(0) ->
		job[0] = queued; owner[0] = NOBODY }
	:: atomic { job[1] == leased && !LAST(1) ->
		job[1] = queued; owner[1] = NOBODY }
	/* Any of the results that are under way comes first. */
	:: atomic { nempty(result) ->
		if
		:: result?j,a,good
		:: result??j,a,eval(1) -> good = 1
		:: result??j,a,eval(0) -> good = 0
		fi;
		take_result(j, good);
		j = 0; a = 0; good = 0
	   }
	:: atomic { (ALL_DONE || MUTANT == 2) && !manifest -> manifest = true }
	od
}

proctype worker(byte me)
{
	byte j, a;
	bit good;

end:	do
	:: atomic { work[me]?j,a ->
		if
		:: good = 1
		:: a < ATTEMPTS -> good = 0
		fi;
		if
		:: nfull(result) -> result!j,a,good;
			if
			:: nfull(result) -> result!j,a,good /* doubled */
			:: skip
			fi
		:: a < ATTEMPTS -> skip /* lost */
		fi;
		j = 0; a = 0; good = 0
	   }
	/* It dies with all that it has, and another one comes. */
	:: atomic { crashes < CRASHES ->
		crashes++;
		do
		:: nempty(work[me]) -> work[me]?j,a
		:: else -> break
		od;
		j = 0; a = 0;
		there[me] = false
	   }
	:: atomic { !there[me] -> gone(me); there[me] = true }
	od
}

init
{
	byte w;

	atomic {
		for (w : 0 .. WORKERS - 1) {
			run worker(w)
		}
		w = 0
	}
}

#define ONCE (accepted[0] <= 1 && accepted[1] <= 1)
#define VERIFIED_ONLY (!manifest || (verified[0] && verified[1]))
#define KEPT(j) (job[j] != leased || owner[j] != NOBODY)

ltl once { [] ONCE }
ltl verified_only { [] VERIFIED_ONLY }
ltl kept { [] (KEPT(0) && KEPT(1)) }
ltl safe { [] (ONCE && VERIFIED_ONLY && KEPT(0) && KEPT(1)) }
ltl ends { <> manifest }
