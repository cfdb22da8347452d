using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Identity;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.SignIn;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.SignIn;

/// <summary>Local accounts and sessions on both databases: links, lock-out, second factor, time-outs, and who looks after whom.</summary>
public sealed class AccountTests(PostgresCluster cluster)
{
    private const string Password = "correct horse battery staple";
    private const string Address = "anna@library.example";
    private static readonly Device s_device = new("test", "192.0.2.1");

    [Fact]
    public void Common_passwords_are_those_that_the_length_lets_through()
    {
        Assert.InRange(PasswordRules.Common.Count, 3_000, 20_000);
        Assert.All(PasswordRules.Common, p => Assert.InRange(p.Length, PasswordRules.Shortest, PasswordRules.Longest));

        // What is looked up is folded: an entry that is not would never be found.
        Assert.All(PasswordRules.Common, p => Assert.Equal(Text.Fold(p), p));
        Assert.All(PasswordRules.Common, p => Assert.NotNull(PasswordRules.Why(p, null, [])));
        Assert.All(PasswordRules.Common, p => Assert.NotNull(PasswordRules.Why(p.ToUpperInvariant(), null, [])));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_everybody_tries_first_is_no_password_whichever_way_it_is_set(Db db)
    {
        await using var system = await StartAsync(db);
        var accounts = system.Get<Accounts>();
        await system
            .Get<SiteService>()
            .AddAsync(system.District.Id, "SOUTH", new SiteChange("Ångström Middle School", null, null, null, null), "test");
        const string Mine = "theodora.lindqvist@riverbend-isd.example";
        string[] tried =
        [
            "Q1W2e3r4t5y6u7i8",
            "ManchesterUnited",
            "michelangelo1504!",
            "Riverbend-2026-2026",
            "angstrom middle SCHOOL 1",
            "SouthSouthSouth99",
            "TheodoraLindqvist1!",
            "riverbendisd2026!",
            "jkzwq jkzwq jkzwq ",
            "Library-Password-1234",
        ];

        async Task RefusedAsync(Func<string, Task> set)
        {
            foreach (var password in tried)
            {
                var refusal = await Assert.ThrowsAsync<RollcallException>(() => set(password));
                Assert.Matches("on the list of common passwords|too easy to guess", refusal.Message);
                Assert.DoesNotContain('\n', refusal.Message);
                Assert.DoesNotContain(password, refusal.Message, StringComparison.Ordinal);
            }
        }

        // The first account, an invitation, a link that resets, a change by oneself. No link is used up by a refusal. Of several servers each
        // shows one for the first account, and all end with it.
        var setup = (await accounts.SetupLinkAsync())!;
        var elsewhere = (await accounts.SetupLinkAsync())!;
        Assert.NotNull(await accounts.PeekAsync(setup));
        await RefusedAsync(p => accounts.UseAsync(setup, Mine, p));
        var first = await accounts.UseAsync(setup, Mine, Password);
        Assert.Null(await accounts.PeekAsync(elsewhere));
        await RefusedAsync(p => accounts.ChangePasswordAsync(first.Id, Password, p));
        const string Theirs = "theodora.lindqvist@river.riverbend-isd.example";
        var (invited, code) = await accounts.AddAsync(Theirs, system.District, SecurityGroup.Librarian, "SOUTH", false, "test");
        await RefusedAsync(p => accounts.UseAsync(code, null, p));
        await accounts.UseAsync(code, null, Password);
        var reset = await accounts.ResetAsync(Theirs, "test");
        await RefusedAsync(p => accounts.UseAsync(reset, null, p));
        await accounts.UseAsync(reset, null, "a south wind over riverbend");
        await RefusedAsync(p => accounts.ChangePasswordAsync(invited.Id, "a south wind over riverbend", p));
        Assert.Equal(PasswordAnswer.Right, (await accounts.CheckAsync(Theirs, "a south wind over riverbend", null)).Answer);

        // Names of a district that is none of theirs are words like others.
        await system.Get<DistrictService>().AddAsync("LAKE", "Lakeview Unified", "UTC", "test");
        await accounts.ChangePasswordAsync(invited.Id, "a south wind over riverbend", "Lakeview Unified");
    }

    /// <summary>Between the password and the session somebody signs the account out everywhere, or locks it and opens it again.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_sign_in_that_is_under_way_ends_with_the_others(Db db)
    {
        await using var system = await StartAsync(db, TimeProvider.System);
        var (accounts, sessions, desk) = (system.Get<Accounts>(), system.Get<Sessions>(), system.Get<AccountDesk>());
        var (added, code) = await accounts.AddAsync(Address, system.District, SecurityGroup.DistrictAdministrator, null, false, "test");
        await accounts.UseAsync(code, null, Password);
        var admin = new Who("", "test", SignInMethod.Password, null, IsOperator: true, []);
        foreach (
            var end in new Func<Who, Task>[]
            {
                who => sessions.EndAsync(who, null),
                _ => desk.EndSessionsAsync(system.District, added.Id, admin),
                async _ =>
                {
                    await desk.LockAsync(system.District, added.Id, admin);
                    await desk.UnlockAsync(system.District, added.Id, admin);
                },
                async _ =>
                {
                    await accounts.LockAsync(Address, "test");
                    await accounts.UnlockAsync(Address, "test");
                },
            }
        )
        {
            var open = await OpenAsync(await ProvedAsync());
            var who = await sessions.FindAsync(open);
            Assert.NotNull(who);
            var proved = await ProvedAsync();
            await end(who);
            Assert.Null(await sessions.FindAsync(open));
            Assert.Null(await sessions.FindAsync(await OpenAsync(proved)));

            // Whoever begins afterwards is in, and one session that is ended takes no other along.
            var (one, other) = (await OpenAsync(await ProvedAsync()), await OpenAsync(await ProvedAsync()));
            await sessions.EndAsync((await sessions.FindAsync(one))!, (await sessions.FindAsync(one))!.SessionId);
            Assert.Null(await sessions.FindAsync(one));
            Assert.NotNull(await sessions.FindAsync(other));
        }

        async Task<Account> ProvedAsync() => (await accounts.CheckAsync(Address, Password, null)).Account!;
        Task<string> OpenAsync(Account account) => sessions.OpenAsync(account, SignInMethod.Password, null, new Device("test", null));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Links_serve_once_and_in_time_and_wrong_passwords_close_an_account_for_a_while(Db db)
    {
        var time = new ShiftedTime(TimeProvider.System.GetUtcNow());
        await using var system = await StartAsync(db, time);
        var accounts = system.Get<Accounts>();
        var (account, code) = await accounts.AddAsync(Address, system.District, SecurityGroup.DistrictAdministrator, null, false, "test");

        // Of two who come at once with one link, one sets the password.
        var uses = await Task.WhenAll(
            Enumerable
                .Range(0, 2)
                .Select(async _ =>
                {
                    try
                    {
                        await accounts.UseAsync(code, null, Password);
                        return true;
                    }
                    catch (Exception e) when (e is RollcallException or DbUpdateException)
                    {
                        return false;
                    }
                })
        );
        Assert.Single(uses, u => u);
        await Assert.ThrowsAsync<RollcallException>(() => accounts.UseAsync(code, null, "another password entirely"));
        Assert.Null(await accounts.PeekAsync(code));

        var late = await accounts.ResetAsync(Address, "test");
        time.MoveTo(time.GetUtcNow() + Accounts.LinkLives + TimeSpan.FromSeconds(1));
        Assert.Null(await accounts.PeekAsync(late));
        await Assert.ThrowsAsync<RollcallException>(() => accounts.UseAsync(late, null, "another password entirely"));
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, Password));

        // Guesses that are made at once are counted before they are made.
        var guesses = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => TryAsync(accounts, $"wrong password {i}")));
        Assert.Equal(Accounts.Attempts, guesses.Count(g => g == PasswordAnswer.Wrong));
        Assert.Equal(8 - Accounts.Attempts, guesses.Count(g => g == PasswordAnswer.Locked));
        Assert.Equal(PasswordAnswer.Locked, await TryAsync(accounts, Password));
        time.MoveTo(time.GetUtcNow() + Accounts.LockedFor + TimeSpan.FromSeconds(1));
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, Password));

        // A right one forgives; a new password by a link opens and ends every session.
        for (var i = 0; i < Accounts.Attempts; i++)
        {
            await TryAsync(accounts, "wrong password again");
        }

        var sessions = system.Get<Sessions>();
        var token = await sessions.OpenAsync((await accounts.GetAsync(account.Id))!, SignInMethod.Password, null, s_device);
        Assert.NotNull(await sessions.FindAsync(token));
        await accounts.UseAsync(await accounts.ResetAsync(Address, "test"), null, "a second password, longer");
        Assert.Null(await sessions.FindAsync(token));
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, "a second password, longer"));
        Assert.Equal(PasswordAnswer.Wrong, await TryAsync(accounts, Password));
        Assert.Equal(PasswordAnswer.Wrong, (await accounts.CheckAsync("nobody@library.example", Password, null)).Answer);
    }

    /// <summary>What is answered to whoever does not know the password is the same for every address.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Tries_do_not_tell_which_addresses_have_an_account(Db db)
    {
        var time = new ShiftedTime(TimeProvider.System.GetUtcNow());
        await using var system = await StartAsync(db, time);
        var accounts = system.Get<Accounts>();
        await WithPasswordAsync(system, Address);
        await accounts.AddAsync("invited@library.example", system.District, SecurityGroup.DistrictAdministrator, null, false, "test");
        var closed = await WithPasswordAsync(system, "closed@library.example");
        await accounts.LockAsync("closed@library.example", "test");
        foreach (var round in (int[])[1, 2])
        {
            foreach (var email in (string[])[Address, "nobody@library.example", "invited@library.example", "closed@library.example"])
            {
                var answers = new List<PasswordAnswer>();
                for (var i = 0; i < Accounts.Attempts + 1; i++)
                {
                    answers.Add((await accounts.CheckAsync(i % 2 == 0 ? email : email.ToUpperInvariant(), "wrong password", null)).Answer);
                }

                Assert.Equal(
                    (
                        email,
                        round,
                        string.Join(' ', [.. Enumerable.Repeat(PasswordAnswer.Wrong, Accounts.Attempts), PasswordAnswer.Locked])
                    ),
                    (email, round, string.Join(' ', answers))
                );
            }

            time.MoveTo(time.GetUtcNow() + Accounts.LockedFor + TimeSpan.FromSeconds(1));
        }

        // Whoever knows the password is told that the account is closed.
        Assert.Equal(PasswordAnswer.Locked, (await accounts.CheckAsync(closed.Email, Password, null)).Answer);
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, Password));

        // However many addresses are tried, what is kept of them is bounded.
        var unknown = new UnknownAddresses(time);
        for (var i = 0; i < 25_000; i++)
        {
            Assert.True(unknown.Takes($"{i}@library.example"));
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_operators_right_is_taken_away_and_operators_are_locked_but_never_the_last_one(Db db)
    {
        await using var system = await StartAsync(db);
        var (accounts, sessions) = (system.Get<Accounts>(), system.Get<Sessions>());
        const string Other = "ben@library.example";
        await accounts.AddAsync(Address, null, SecurityGroup.Patron, null, true, "test");
        await RefusedAsync(accounts.LockAsync(Address, "test"));
        await RefusedAsync(accounts.DropOperatorAsync(Address, "test"));
        var (account, code) = await accounts.AddAsync(Other, system.District, SecurityGroup.DistrictAdministrator, null, true, "test");
        account = await accounts.UseAsync(code, null, Password);
        var session = await sessions.OpenAsync(account, SignInMethod.Password, null, s_device);
        Assert.True((await sessions.FindAsync(session))!.IsOperator);

        // The one that is left alone is the last one, locked or not.
        await accounts.LockAsync(Address, "test");
        await RefusedAsync(accounts.LockAsync(Other, "test"));
        await RefusedAsync(accounts.DropOperatorAsync(Other, "test"));
        await accounts.UnlockAsync(Address, "test");

        await accounts.LockAsync(Other, "test");
        Assert.Null(await sessions.FindAsync(session));
        Assert.Equal(PasswordAnswer.Locked, (await accounts.CheckAsync(Other, Password, null)).Answer);
        await accounts.UnlockAsync(Other, "test");
        account = (await accounts.GetAsync(account.Id))!;
        session = await sessions.OpenAsync(account, SignInMethod.Password, null, s_device);
        Assert.Equal([system.District.Code], await accounts.DropOperatorAsync($" {Other} ", "test"));
        var who = (await sessions.FindAsync(session))!;
        Assert.False(who.IsOperator);
        Assert.Single(who.Grants);
        await Assert.ThrowsAsync<RollcallException>(() => accounts.DropOperatorAsync(Other, "test"));
        Assert.Contains(
            (await system.Get<AuditLog>().PageAsync(system.District.Id, new AuditFilter(Search: "ben"), 1, 50)).Lines,
            l => l.Details.EndsWith(": locked", StringComparison.Ordinal)
        );

        // Two who take each other's right away at once leave one.
        await accounts.AddAsync(Other, null, SecurityGroup.Patron, null, true, "test");
        var both = await Task.WhenAll(
            ((string[])[Address, Other]).Select(e =>
                Task.Run(async () =>
                {
                    try
                    {
                        await accounts.DropOperatorAsync(e, "test");
                        return true;
                    }
                    catch (RollcallException)
                    {
                        return false;
                    }
                })
            )
        );
        Assert.Single(both, b => b);
        Assert.Single((await accounts.ListAsync(null)), a => a.IsOperator);

        static async Task RefusedAsync(Task act) =>
            Assert.Contains("last operator", (await Assert.ThrowsAsync<RollcallException>(() => act)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_second_factor_takes_each_code_once_and_keeps_no_secret_readable(Db db)
    {
        await using var system = await StartAsync(db);
        var accounts = system.Get<Accounts>();
        var account = await WithPasswordAsync(system, Address);
        await Assert.ThrowsAsync<RollcallException>(() => accounts.BeginSecondFactorAsync(account.Id, "not the password"));
        var (key, uri) = await accounts.BeginSecondFactorAsync(account.Id, Password);
        Assert.Contains(key.Replace(" ", "", StringComparison.Ordinal), uri, StringComparison.Ordinal);
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, Password));
        await Assert.ThrowsAsync<RollcallException>(() => accounts.TurnSecondFactorOnAsync(account.Id, Wrong(Authenticator.Code(key))));
        var recovery = await accounts.TurnSecondFactorOnAsync(account.Id, Authenticator.Code(key));
        Assert.Equal(8, recovery.Distinct().Count());

        Assert.Equal(PasswordAnswer.CodeNeeded, await TryAsync(accounts, Password));
        Assert.Equal(PasswordAnswer.Wrong, await TryAsync(accounts, Password, Wrong(Authenticator.Code(key))));
        var code = Authenticator.Code(key);
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, Password, code));
        Assert.Equal(PasswordAnswer.Wrong, await TryAsync(accounts, Password, code));
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, Password, recovery[0].ToLowerInvariant()));
        Assert.Equal(PasswordAnswer.Wrong, await TryAsync(accounts, Password, recovery[0]));
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, Password, recovery[1]));

        await using (var context = system.Database.CreateContext())
        {
            foreach (var stored in await context.Set<Microsoft.AspNetCore.Identity.IdentityUserToken<long>>().ToListAsync())
            {
                Assert.DoesNotContain(key.Replace(" ", "", StringComparison.Ordinal), stored.Value, StringComparison.OrdinalIgnoreCase);
                Assert.All(recovery, r => Assert.DoesNotContain(r, stored.Value, StringComparison.OrdinalIgnoreCase));
            }
        }

        // Lost with the phone: another administrator takes it away, nobody their own; every session ends, and the audit says who did it.
        var sessions = system.Get<Sessions>();
        var desk = system.Get<AccountDesk>();
        var boss = await WithPasswordAsync(system, "boss@library.example");
        var held = await sessions.OpenAsync((await accounts.GetAsync(account.Id))!, SignInMethod.Password, null, s_device);
        var own = (await sessions.FindAsync(held))!;
        await Assert.ThrowsAsync<RollcallException>(() => desk.DropSecondFactorAsync(system.District, account.Id, own));
        var by = (await sessions.FindAsync(await sessions.OpenAsync(boss, SignInMethod.Password, null, s_device)))!;
        await desk.DropSecondFactorAsync(system.District, account.Id, by);
        Assert.Null(await sessions.FindAsync(held));
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, Password));
        Assert.Equal(PasswordAnswer.Wrong, await TryAsync(accounts, "not the password", recovery[2]));
        await Assert.ThrowsAsync<RollcallException>(() => accounts.DropSecondFactorAsync(Address, "test"));
        var (lines, _) = await system
            .Get<AuditLog>()
            .PageAsync(system.District.Id, new AuditFilter(Search: "second factor taken away"), 1, 9);
        Assert.Equal("boss@library.example", Assert.Single(lines).Actor);

        (key, _) = await accounts.BeginSecondFactorAsync(account.Id, Password);
        await accounts.TurnSecondFactorOnAsync(account.Id, Authenticator.Code(key));
        await Assert.ThrowsAsync<RollcallException>(() => accounts.TurnSecondFactorOffAsync(account.Id, "not the password"));
        await accounts.TurnSecondFactorOffAsync(account.Id, Password);
        Assert.Equal(PasswordAnswer.Right, await TryAsync(accounts, Password));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Passkeys_are_kept_called_counted_and_taken_away_and_are_one_accounts_alone(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new() { Students = 1, Schools = 1 }, connect: false);
        var accounts = system.Get<Accounts>();
        var passkeys = system.Get<Passkeys>();
        var (ada, _) = await accounts.AddAsync("ada@example.org", system.District, SecurityGroup.LibraryAdministrator, null, false, "test");
        var (eve, _) = await accounts.AddAsync("eve@example.org", system.District, SecurityGroup.LibraryAdministrator, null, false, "test");
        Assert.False(await passkeys.AnyAsync());
        await passkeys.AddAsync(ada.Id, ada.SecurityStamp, Passkey(1, counter: 4), " Phone ");
        await passkeys.AddAsync(ada.Id, ada.SecurityStamp, Passkey(2, counter: 0), "Key ring");
        await Assert.ThrowsAsync<RollcallException>(() => passkeys.AddAsync(ada.Id, ada.SecurityStamp, Passkey(3, counter: 0), " "));
        Assert.True(await passkeys.AnyAsync());
        var listed = await passkeys.ListAsync(ada.Id);
        Assert.Equal(["Phone", "Key ring"], listed.Select(p => p.Name));
        Assert.Empty(await passkeys.ListAsync(eve.Id));
        Assert.Equal(2, (await accounts.ListAsync(system.District.Id)).Single(a => a.Id == ada.Id).Passkeys);

        // Nobody touches another's.
        await Assert.ThrowsAsync<RollcallException>(() => passkeys.RenameAsync(eve.Id, listed[0].Id, "Mine"));
        await Assert.ThrowsAsync<RollcallException>(() => passkeys.RemoveAsync(eve.Id, listed[0].Id));
        await passkeys.RenameAsync(ada.Id, listed[0].Id, "Pocket");
        Assert.Equal("Pocket", (await passkeys.ListAsync(ada.Id))[0].Name);

        // The counter goes on, and the name stays.
        Assert.Equal(ada.Id, (await passkeys.AcceptAsync(ada.Id, Passkey(1, counter: 9)))!.Id);
        await using (var context = system.Database.CreateContext())
        {
            var kept = await context.Set<IdentityUserPasskey<long>>().AsNoTracking().Where(p => p.UserId == ada.Id).ToListAsync();
            Assert.Contains(kept, p => p.Data.SignCount == 9);
        }

        // Taken away, or the account closed: it signs nobody in.
        await passkeys.RemoveAsync(ada.Id, listed[0].Id);
        Assert.Null(await passkeys.AcceptAsync(ada.Id, Passkey(1, counter: 10)));
        await system.Get<AccountDesk>().LockAsync(system.District, ada.Id, new Who("", "test", SignInMethod.Link, null, false, []));
        Assert.Null(await passkeys.AcceptAsync(ada.Id, Passkey(2, counter: 1)));
        await system.Get<AccountDesk>().UnlockAsync(system.District, ada.Id, new Who("", "test", SignInMethod.Link, null, false, []));
        await accounts.DropSecondFactorAsync("ada@example.org", "test");
        Assert.Empty(await passkeys.ListAsync(ada.Id));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_locked_account_is_given_no_link_that_opens_nothing(Db db)
    {
        await using var system = await StartAsync(db);
        var accounts = system.Get<Accounts>();
        await WithPasswordAsync(system, "dora@library.example");
        await accounts.LockAsync("dora@library.example", "test");
        var refused = await Assert.ThrowsAsync<RollcallException>(() => accounts.ResetAsync("dora@library.example", "test"));
        Assert.Contains("account unlock dora@library.example", refused.Message, StringComparison.Ordinal);
        await accounts.UnlockAsync("dora@library.example", "test");
        Assert.NotEmpty(await accounts.ResetAsync("dora@library.example", "test"));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_second_factor_goes_with_all_that_belongs_to_it_or_not_at_all(Db db)
    {
        await using var system = await StartAsync(db);
        var (accounts, sessions, passkeys) = (system.Get<Accounts>(), system.Get<Sessions>(), system.Get<Passkeys>());
        var account = await WithPasswordAsync(system, "dora@library.example");
        await passkeys.AddAsync(account.Id, account.SecurityStamp, Passkey(1, 0), "Phone");
        var session = await sessions.OpenAsync(account, SignInMethod.Password, null, s_device);
        await using (var connection = await system.Database.OpenAsync())
        {
            foreach (
                var statement in db == Db.Sqlite
                    ? (string[])
                        ["CREATE TRIGGER no_audit BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"]
                    :
                    [
                        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the disk is full'; END $$",
                        "CREATE TRIGGER no_audit BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse()",
                    ]
            )
            {
                await using var command = connection.CreateCommand();
                command.CommandText = statement;
                await command.ExecuteNonQueryAsync();
            }
        }

        await Assert.ThrowsAsync<DbUpdateException>(() => accounts.DropSecondFactorAsync("dora@library.example", "test"));
        Assert.Single(await passkeys.ListAsync(account.Id));
        Assert.NotNull(await sessions.FindAsync(session));
    }

    /// <summary>A request that was let in may take its time to arrive: what was known then may not be any more.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task No_passkey_comes_after_the_password_that_was_said_for_it(Db db)
    {
        await using var system = await StartAsync(db);
        var (accounts, desk, passkeys) = (system.Get<Accounts>(), system.Get<AccountDesk>(), system.Get<Passkeys>());
        var other = await system.Get<DistrictService>().AddAsync("OTHER", "Other", null, "test");
        var by = new Who("", "test", SignInMethod.Link, null, false, []);
        var account = await WithPasswordAsync(system, "cleo@library.example");
        var said = await accounts.ProveAsync(account.Id, Password);

        // Locked meanwhile: what was under way ends with it.
        await desk.LockAsync(system.District, account.Id, by);
        await RefusedAsync();
        await desk.UnlockAsync(system.District, account.Id, by);
        await RefusedAsync();
        said = await accounts.ProveAsync(account.Id, Password);
        await passkeys.AddAsync(account.Id, said.SecurityStamp, Passkey(1, 0), "Phone");
        await passkeys.RemoveAsync(account.Id, (await passkeys.ListAsync(account.Id))[0].Id);

        // Another password by a link, and an account that begins anew.
        await accounts.UseAsync(await accounts.ResetAsync("cleo@library.example", "test"), null, "a second password, longer");
        await RefusedAsync();
        said = await accounts.ProveAsync(account.Id, "a second password, longer");
        Assert.True(
            (await accounts.AddAsync("cleo@library.example", other, SecurityGroup.DistrictAdministrator, null, false, "operator")).Renewed
        );
        await RefusedAsync();

        // Both at once: none is left, whichever is first.
        for (byte i = 0; i < 8; i++)
        {
            var email = $"race{i}@library.example";
            var racer = await WithPasswordAsync(system, email);
            var adding = Task.Run(async () =>
            {
                try
                {
                    await passkeys.AddAsync(racer.Id, racer.SecurityStamp, Passkey((byte)(10 + i), 0), "Phone");
                }
                catch (RollcallException) { }
            });
            await Task.WhenAll(
                adding,
                Task.Run(() => accounts.AddAsync(email, other, SecurityGroup.DistrictAdministrator, null, false, "operator"))
            );
            Assert.Empty(await passkeys.ListAsync(racer.Id));
        }

        async Task RefusedAsync()
        {
            await Assert.ThrowsAsync<RollcallException>(() => passkeys.AddAsync(account.Id, said.SecurityStamp, Passkey(2, 0), "Phone"));
            Assert.Empty(await passkeys.ListAsync(account.Id));
        }
    }

    private static UserPasskeyInfo Passkey(byte id, uint counter) =>
        new([id, 2, 3, 4], [5, 6], TimeProvider.System.GetUtcNow().AddMinutes(id), counter, ["internal"], true, true, false, [7], [8]);

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_tokens_of_an_account_end_with_its_place_and_do_not_come_back_with_it(Db db)
    {
        await using var system = await StartAsync(db);
        var (accounts, desk, tokens) = (system.Get<Accounts>(), system.Get<AccountDesk>(), system.Get<AccessTokens>());
        var sessions = system.Get<Sessions>();
        var other = await system.Get<DistrictService>().AddAsync("OTHER", "Other", null, "test");
        var by = new Who("", "boss", SignInMethod.Link, null, false, []);
        var account = await WithPasswordAsync(system, "cleo@library.example");
        var session = (await sessions.FindAsync(await sessions.OpenAsync(account, SignInMethod.Password, null, s_device)))!.SessionId;
        var hers = await MakeAsync(session);
        var theirs = (
            await tokens.CreateAsync(
                system.District,
                "its child",
                SecurityGroup.DistrictAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(1),
                "hers",
                account.Id,
                by: await tokens.FindAsync(hers)
            )
        ).Token;
        var others = (
            await tokens.CreateAsync(
                system.District,
                "the command line's",
                SecurityGroup.DistrictAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(1),
                "test"
            )
        ).Token;
        Assert.NotNull(await tokens.FindAsync(theirs));
        Assert.Empty(await tokens.LessAsync(await tokens.ListAsync(system.District.Id)));

        // Locked they sleep, and the list of tokens says so.
        await desk.LockAsync(system.District, account.Id, by);
        Assert.Equal(2, (await tokens.LessAsync(await tokens.ListAsync(system.District.Id))).Count(l => !l.Value.Opens));
        await desk.UnlockAsync(system.District, account.Id, by);
        Assert.NotNull(await tokens.FindAsync(theirs));

        // Out of the district, and in again.
        await desk.RemoveAsync(system.District, account.Id, by);
        await Assert.ThrowsAsync<RollcallException>(() => MakeAsync(null));
        await accounts.AddAsync(
            "cleo@library.example",
            system.District,
            SecurityGroup.DistrictAdministrator,
            null,
            false,
            "test",
            keep: true
        );
        Assert.Null(await tokens.FindAsync(hers));
        Assert.Null(await tokens.FindAsync(theirs));
        Assert.NotNull(await tokens.FindAsync(others));
        Assert.Contains(
            (await system.Get<AuditLog>().PageAsync(system.District.Id, new AuditFilter(Search: "revoked"), 1, 50)).Lines,
            l => l.Actor == "boss" && l.Details.Contains("'hers'", StringComparison.Ordinal)
        );

        // An account that gets more begins anew without what programs do in its name, and a request of before makes no more of them.
        account = (await accounts.GetAsync(account.Id))!;
        session = (await sessions.FindAsync(await sessions.OpenAsync(account, SignInMethod.Password, null, s_device)))!.SessionId;
        hers = await MakeAsync(session);
        Assert.NotNull(await tokens.FindAsync(hers));
        Assert.True(
            (await accounts.AddAsync("cleo@library.example", other, SecurityGroup.DistrictAdministrator, null, false, "operator")).Renewed
        );
        Assert.Null(await tokens.FindAsync(hers));
        await Assert.ThrowsAsync<RollcallException>(() => MakeAsync(session));

        // Whoever may do less than their token, and a token whose maker token ended.
        var parent = await tokens.FindAsync(others);
        var (child, secret) = await tokens.CreateAsync(
            system.District,
            "child of the command line's",
            SecurityGroup.LibraryAdministrator,
            TokenScopes.PatronsRead,
            TimeSpan.FromHours(1),
            "test",
            by: parent
        );
        await tokens.RevokeAsync(system.District.Id, parent!.TokenId, "test");
        Assert.Null(await tokens.FindAsync(secret));
        var made = (await MakeRowAsync(null)).Row;
        await accounts.AddAsync("cleo@library.example", system.District, SecurityGroup.LibraryAdministrator, null, false, "test");
        var less = await tokens.LessAsync(await tokens.ListAsync(system.District.Id));
        Assert.Equal((false, $"Ended with token {parent.TokenId}, which made it"), less[child.Id]);
        Assert.Equal((true, "At most Library Administrator, as its maker is now"), less[made.Id]);

        async Task<string> MakeAsync(string? inSession) => (await MakeRowAsync(inSession)).Token;

        Task<(AccessToken Row, string Token)> MakeRowAsync(string? inSession) =>
            tokens.CreateAsync(
                system.District,
                "hers",
                SecurityGroup.DistrictAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(30),
                new Actor("cleo", SecurityGroup.DistrictAdministrator),
                account.Id,
                session: inSession
            );
    }

    [Fact]
    public void A_password_costs_whoever_guesses_it()
    {
        using var services = new ServiceCollection()
            .AddRollcall(new RollcallOptions(new Rollcall.Storage.StorageOptions(Path.GetTempPath(), null)))
            .BuildServiceProvider();
        var options = services
            .GetRequiredService<Microsoft.Extensions.Options.IOptions<Microsoft.AspNetCore.Identity.PasswordHasherOptions>>()
            .Value;
        Assert.True(options.IterationCount >= 210_000);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Sessions_end_when_idle_when_old_and_when_told(Db db)
    {
        var time = new ShiftedTime(TimeProvider.System.GetUtcNow());
        await using var system = await StartAsync(db, time);
        var account = await WithPasswordAsync(system, Address);
        var sessions = system.Get<Sessions>();
        Task<string> OpenAsync() => sessions.OpenAsync(account, SignInMethod.Password, null, s_device);

        var idle = await OpenAsync();
        time.MoveTo(time.GetUtcNow() + Sessions.Idle - TimeSpan.FromMinutes(2));
        Assert.NotNull(await sessions.FindAsync(idle));
        time.MoveTo(time.GetUtcNow() + Sessions.Idle + TimeSpan.FromMinutes(1));
        Assert.Null(await sessions.FindAsync(idle));

        var busy = await OpenAsync();
        var until = time.GetUtcNow() + Sessions.Longest;
        while (time.GetUtcNow() + TimeSpan.FromMinutes(20) < until)
        {
            time.MoveTo(time.GetUtcNow() + TimeSpan.FromMinutes(20));
            Assert.NotNull(await sessions.FindAsync(busy));
        }

        time.MoveTo(until + TimeSpan.FromSeconds(1));
        Assert.Null(await sessions.FindAsync(busy));

        var (one, two, three) = (await OpenAsync(), await OpenAsync(), await OpenAsync());
        var who = (await sessions.FindAsync(one))!;
        Assert.Equal(3, (await sessions.ListAsync(who)).Count);
        await sessions.EndAsync(who, (await sessions.FindAsync(two))!.SessionId);
        Assert.Null(await sessions.FindAsync(two));
        Assert.NotNull(await sessions.FindAsync(three));

        // Somebody else's session is not theirs to end.
        var other = await sessions.OpenAsync(await WithPasswordAsync(system, "ben@library.example"), SignInMethod.Password, null, s_device);
        await sessions.EndAsync(who, (await sessions.FindAsync(other))!.SessionId);
        Assert.NotNull(await sessions.FindAsync(other));
        await sessions.EndAsync(who, null);
        Assert.Null(await sessions.FindAsync(one));
        Assert.Null(await sessions.FindAsync(three));
        Assert.NotNull(await sessions.FindAsync(other));

        // Whoever signs in on the same browser ends the one before.
        account = (await system.Get<Accounts>().GetAsync(account.Id))!;
        var again = await sessions.OpenAsync(account, SignInMethod.Password, other, s_device);
        Assert.Null(await sessions.FindAsync(other));
        Assert.NotNull(await sessions.FindAsync(again));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_administrator_looks_after_accounts_of_the_district_alone(Db db)
    {
        var time = new ShiftedTime(TimeProvider.System.GetUtcNow());
        await using var system = await StartAsync(db, time);
        var (accounts, desk, sessions) = (system.Get<Accounts>(), system.Get<AccountDesk>(), system.Get<Sessions>());
        var other = await system.Get<DistrictService>().AddAsync("OTHER", "Other", null, "test");
        var admin = await WithPasswordAsync(system, Address);
        var by = (await sessions.FindAsync(await sessions.OpenAsync(admin, SignInMethod.Password, null, s_device)))!;

        // One's own address is one's own however it is written.
        foreach (var own in (string[])[Address, Address.ToUpperInvariant(), $" {Address}", $"\u200B{Address}", $"{Address}\uFEFF"])
        {
            var refusal = await Assert.ThrowsAsync<RollcallException>(() =>
                desk.AddAsync(system.District, own, SecurityGroup.LibraryAdministrator, null, by)
            );
            Assert.Contains("your own account", refusal.Message, StringComparison.Ordinal);
        }

        // A new account gets a link; one that another district made gets no place here, and one that has both no link of ours.
        Assert.NotNull((await desk.AddAsync(system.District, "new@library.example", SecurityGroup.LibraryAdministrator, null, by)).Code);
        await accounts.AddAsync("shared@library.example", other, SecurityGroup.DistrictAdministrator, null, false, "test");
        await Assert.ThrowsAsync<RollcallException>(() =>
            desk.AddAsync(system.District, "shared@library.example", SecurityGroup.LibraryAdministrator, null, by)
        );
        await accounts.AddAsync("shared@library.example", system.District, SecurityGroup.LibraryAdministrator, null, false, "test");
        Assert.Null((await desk.AddAsync(system.District, "shared@library.example", SecurityGroup.DistrictAdministrator, null, by)).Code);
        await accounts.AddAsync("operator@library.example", system.District, SecurityGroup.LibraryAdministrator, null, true, "test");
        var ids = (await accounts.ListAsync(null)).ToDictionary(a => a.Email, a => a.Id);
        foreach (var email in (string[])["shared@library.example", "operator@library.example"])
        {
            await Assert.ThrowsAsync<RollcallException>(() => desk.ResetAsync(system.District, ids[email], by));
            await Assert.ThrowsAsync<RollcallException>(() => desk.LockAsync(system.District, ids[email], by));
            await Assert.ThrowsAsync<RollcallException>(() => desk.EndSessionsAsync(system.District, ids[email], by));
        }

        await accounts.AddAsync("stranger@library.example", other, SecurityGroup.DistrictAdministrator, null, false, "test");
        var stranger = (await accounts.ListAsync(other.Id)).Single(a => a.Email.StartsWith("stranger", StringComparison.Ordinal)).Id;
        await Assert.ThrowsAsync<RollcallException>(() => desk.ResetAsync(system.District, stranger, by));
        await Assert.ThrowsAsync<RollcallException>(() => desk.RemoveAsync(system.District, stranger, by));
        await Assert.ThrowsAsync<RollcallException>(() => desk.LockAsync(system.District, admin.Id, by));
        await Assert.ThrowsAsync<RollcallException>(() => desk.RemoveAsync(system.District, admin.Id, by));
        await Assert.ThrowsAsync<RollcallException>(() => desk.AddAsync(system.District, Address, SecurityGroup.Librarian, "S1", by));

        // Whoever has no place here any more leaves no filters behind.
        var filters = system.Get<SavedFilters>();
        var (leaving, staying) = (SavedFilters.OwnerOfAccount(ids["shared@library.example"]), SavedFilters.OwnerOfAccount(admin.Id));
        foreach (var owner in (string[])[leaving, staying])
        {
            await filters.SaveAsync(system.District.Id, owner, "Fifth grade", "?level=05", CancellationToken.None);
        }

        await desk.RemoveAsync(system.District, ids["shared@library.example"], by);
        Assert.Empty(await filters.ListAsync(system.District.Id, leaving, CancellationToken.None));
        Assert.Single(await filters.ListAsync(system.District.Id, staying, CancellationToken.None));

        // Locked is locked: sessions, password, links and tokens, for longer than wrong passwords last.
        var victim = await WithPasswordAsync(system, "cleo@library.example");
        var session = await sessions.OpenAsync(victim, SignInMethod.Password, null, s_device);
        var link = await accounts.ResetAsync("cleo@library.example", "test");
        var (_, token) = await system
            .Get<AccessTokens>()
            .CreateAsync(
                system.District,
                "hers",
                SecurityGroup.DistrictAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(30),
                new Actor("cleo", SecurityGroup.DistrictAdministrator),
                victim.Id
            );
        Assert.NotNull(await system.Get<AccessTokens>().FindAsync(token));
        await desk.LockAsync(system.District, victim.Id, by);
        time.MoveTo(time.GetUtcNow() + Accounts.LockedFor + Accounts.LockedFor);
        Assert.Null(await sessions.FindAsync(session));
        Assert.Equal(PasswordAnswer.Locked, (await accounts.CheckAsync("cleo@library.example", Password, null)).Answer);
        await Assert.ThrowsAsync<RollcallException>(() => accounts.UseAsync(link, null, "a password of her own"));
        await Assert.ThrowsAsync<RollcallException>(() => desk.ResetAsync(system.District, victim.Id, by));
        Assert.Null(await system.Get<AccessTokens>().FindAsync(token));

        // The command line is no way around either.
        await Assert.ThrowsAsync<RollcallException>(() => accounts.ResetAsync("cleo@library.example", "test"));
        by = (await sessions.FindAsync(await sessions.OpenAsync(admin, SignInMethod.Password, null, s_device)))!;
        await desk.UnlockAsync(system.District, victim.Id, by);
        Assert.Equal(PasswordAnswer.Right, (await accounts.CheckAsync("cleo@library.example", Password, null)).Answer);
        Assert.NotNull(await system.Get<AccessTokens>().FindAsync(token));
        var audit = (await system.Get<AuditLog>().PageAsync(system.District.Id, new AuditFilter(Search: "CLEO"), 1, 50)).Lines;
        Assert.Contains(audit, l => l.Details.EndsWith("locked", StringComparison.Ordinal) && l.Actor == Address);
        Assert.Empty((await system.Get<AuditLog>().PageAsync(other.Id, new AuditFilter(Search: "cleo"), 1, 50)).Lines);
    }

    /// <summary>An administrator who makes an account for somebody, and keeps a way in, waits for what another district gives it.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_account_that_gets_more_than_its_administrators_can_give_begins_anew(Db db)
    {
        await using var system = await StartAsync(db);
        var (accounts, desk, sessions) = (system.Get<Accounts>(), system.Get<AccountDesk>(), system.Get<Sessions>());
        var other = await system.Get<DistrictService>().AddAsync("OTHER", "Other", null, "test");
        var third = await system.Get<DistrictService>().AddAsync("THIRD", "Third", null, "test");
        var eve = await AdministratorAsync(system.District, "eve@library.example");
        var ben = await AdministratorAsync(other, "ben@library.example");

        // A link that nobody used, and one that sets another password.
        var kept = (await desk.AddAsync(system.District, "chris@b.example", SecurityGroup.LibraryAdministrator, null, eve)).Code;
        var chris = (await accounts.ListAsync(system.District.Id)).Single(a => a.Email == "chris@b.example").Id;
        var reset = await desk.ResetAsync(system.District, chris, eve);
        var refusal = await Assert.ThrowsAsync<RollcallException>(() =>
            desk.AddAsync(other, "chris@b.example", SecurityGroup.DistrictAdministrator, null, ben)
        );
        Assert.Contains("only the operator", refusal.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(await accounts.ListAsync(other.Id), a => a.Email == "chris@b.example");
        var added = await accounts.AddAsync("chris@b.example", other, SecurityGroup.DistrictAdministrator, null, false, "operator");
        Assert.Null(await accounts.PeekAsync(kept));
        Assert.Null(await accounts.PeekAsync(reset));
        Assert.NotNull(await accounts.PeekAsync(added.Code));
        await Assert.ThrowsAsync<RollcallException>(() => desk.ResetAsync(system.District, chris, eve));

        // A password, a second factor and a session of theirs.
        var dora = await TakenAsync("dora@b.example");
        var (key, _) = await accounts.BeginSecondFactorAsync(dora.Id, Password);
        Assert.NotEmpty(key);
        var session = await sessions.OpenAsync(dora, SignInMethod.Password, null, s_device);
        Assert.NotNull(await sessions.FindAsync(session));
        var renewed = await accounts.AddAsync("dora@b.example", other, SecurityGroup.DistrictAdministrator, null, false, "operator");
        Assert.True(renewed.Renewed);
        Assert.Null(await sessions.FindAsync(session));
        Assert.Equal(PasswordAnswer.Wrong, (await accounts.CheckAsync("dora@b.example", Password, null)).Answer);
        await accounts.UseAsync(renewed.Code, null, "a password of her own");
        Assert.Contains(
            (await system.Get<AuditLog>().PageAsync(system.District.Id, new AuditFilter(Search: "dora"), 1, 50)).Lines,
            l => l.Details.Contains("ended by the operator", StringComparison.Ordinal)
        );

        // From then on no district's administrator has had a way in: a third place changes nothing.
        var more = await accounts.AddAsync("dora@b.example", third, SecurityGroup.LibraryAdministrator, null, false, "operator");
        Assert.Equal((null, false), (more.Code, more.Renewed));
        Assert.Equal(PasswordAnswer.Right, (await accounts.CheckAsync("dora@b.example", "a password of her own", null)).Answer);

        // The operator's right, a place after none, and a word of the operator that the owner alone has the password.
        await TakenAsync("finn@b.example");
        Assert.True((await accounts.AddAsync("finn@b.example", null, SecurityGroup.Patron, null, true, "operator")).Renewed);
        Assert.Equal(PasswordAnswer.Wrong, (await accounts.CheckAsync("finn@b.example", Password, null)).Answer);
        await TakenAsync("gil@b.example");
        var gil = (await accounts.ListAsync(system.District.Id)).Single(a => a.Email == "gil@b.example").Id;
        await desk.RemoveAsync(system.District, gil, eve);
        var anew = await desk.AddAsync(other, "gil@b.example", SecurityGroup.DistrictAdministrator, null, ben);
        Assert.True(anew.Renewed);
        Assert.NotNull(await accounts.PeekAsync(anew.Code));
        Assert.Equal(PasswordAnswer.Wrong, (await accounts.CheckAsync("gil@b.example", Password, null)).Answer);
        await TakenAsync("hal@b.example");
        var pending = await accounts.ResetAsync("hal@b.example", "eve");
        var sure = await accounts.AddAsync(
            "hal@b.example",
            other,
            SecurityGroup.DistrictAdministrator,
            null,
            false,
            "operator",
            keep: true
        );
        Assert.Equal((null, false), (sure.Code, sure.Renewed));
        Assert.Null(await accounts.PeekAsync(pending));
        Assert.Equal(PasswordAnswer.Right, (await accounts.CheckAsync("hal@b.example", Password, null)).Answer);

        // Both at once: whichever is first, no link of the one district is left.
        for (var i = 0; i < 8; i++)
        {
            var email = $"race{i}@b.example";
            var taken = await TakenAsync(email);
            var asking = Task.Run(async () =>
            {
                try
                {
                    return await desk.ResetAsync(system.District, taken.Id, eve);
                }
                catch (RollcallException)
                {
                    return null;
                }
            });
            var giving = Task.Run(() => accounts.AddAsync(email, other, SecurityGroup.DistrictAdministrator, null, false, "operator"));
            Assert.NotNull((await giving).Code);
            Assert.Null(await accounts.PeekAsync(await asking));
        }

        async Task<Who> AdministratorAsync(District district, string email)
        {
            var (_, code) = await accounts.AddAsync(email, district, SecurityGroup.DistrictAdministrator, null, false, "test");
            var account = await accounts.UseAsync(code, null, Password);
            return (await sessions.FindAsync(await sessions.OpenAsync(account, SignInMethod.Password, null, s_device)))!;
        }

        async Task<Account> TakenAsync(string email) =>
            await accounts.UseAsync(
                (await desk.AddAsync(system.District, email, SecurityGroup.LibraryAdministrator, null, eve)).Code,
                null,
                Password
            );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_somebody_changes_of_an_account_meanwhile_does_not_open_what_is_locked(Db db)
    {
        var meanwhile = new Meanwhile();
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            connect: false,
            configure: s =>
                s.Configure<PasswordHasherOptions>(h => h.IterationCount = 2_000).AddSingleton<IPasswordValidator<Account>>(meanwhile)
        );
        var (accounts, desk, sessions) = (system.Get<Accounts>(), system.Get<AccountDesk>(), system.Get<Sessions>());
        var admin = await WithPasswordAsync(system, Address);
        var by = (await sessions.FindAsync(await sessions.OpenAsync(admin, SignInMethod.Password, null, s_device)))!;
        var victim = await WithPasswordAsync(system, "cleo@library.example");
        meanwhile.Does = () => desk.LockAsync(system.District, victim.Id, by);
        await Assert.ThrowsAsync<RollcallException>(() => accounts.ChangePasswordAsync(victim.Id, Password, "another of her own"));
        Assert.Equal(PasswordAnswer.Locked, (await accounts.CheckAsync("cleo@library.example", Password, null)).Answer);
        Assert.True(Accounts.IsLockedByHand((await accounts.GetAsync(victim.Id))!, TimeProvider.System.GetUtcNow()));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_account_that_begins_anew_while_its_password_is_changed_keeps_none(Db db)
    {
        var hasher = new MeanwhileHasher();
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            connect: false,
            configure: s => s.AddSingleton<IPasswordHasher<Account>>(hasher)
        );
        var (accounts, desk, sessions) = (system.Get<Accounts>(), system.Get<AccountDesk>(), system.Get<Sessions>());
        var other = await system.Get<DistrictService>().AddAsync("OTHER", "Other", null, "test");
        var admin = await WithPasswordAsync(system, Address);
        var by = (await sessions.FindAsync(await sessions.OpenAsync(admin, SignInMethod.Password, null, s_device)))!;
        foreach (var during in (string[])["said", "hashed"])
        {
            // Begun anew.
            var email = $"begun-{during}@library.example";
            var account = await WithPasswordAsync(system, email);
            hasher.Do(during, () => accounts.AddAsync(email, other, SecurityGroup.DistrictAdministrator, null, false, "operator"));
            await Assert.ThrowsAsync<RollcallException>(() => accounts.ChangePasswordAsync(account.Id, Password, "another of their own"));
            Assert.Null((await accounts.GetAsync(account.Id))!.PasswordHash);

            // Locked.
            email = $"locked-{during}@library.example";
            account = await WithPasswordAsync(system, email);
            hasher.Do(during, () => desk.LockAsync(system.District, account.Id, by));
            await Assert.ThrowsAsync<RollcallException>(() => accounts.ChangePasswordAsync(account.Id, Password, "another of their own"));
            await desk.UnlockAsync(system.District, account.Id, by);
            Assert.Equal(PasswordAnswer.Right, (await accounts.CheckAsync(email, Password, null)).Answer);

            // Another password by a link.
            email = $"reset-{during}@library.example";
            account = await WithPasswordAsync(system, email);
            var code = await accounts.ResetAsync(email, "test");
            hasher.Do(during, () => accounts.UseAsync(code, null, "a second password, longer"));
            await Assert.ThrowsAsync<RollcallException>(() => accounts.ChangePasswordAsync(account.Id, Password, "another of their own"));
            Assert.Equal(PasswordAnswer.Right, (await accounts.CheckAsync(email, "a second password, longer", null)).Answer);
        }
    }

    /// <summary>Does something else right after a password was looked at, or while a new one is hashed.</summary>
    private sealed class MeanwhileHasher()
        : PasswordHasher<Account>(Microsoft.Extensions.Options.Options.Create(new PasswordHasherOptions { IterationCount = 2_000 }))
    {
        private (string When, Func<Task> Act)? _does;

        public void Do(string when, Func<Task> act) => _does = (when, act);

        public override PasswordVerificationResult VerifyHashedPassword(Account user, string hashedPassword, string providedPassword)
        {
            var result = base.VerifyHashedPassword(user, hashedPassword, providedPassword);
            Now("said");
            return result;
        }

        public override string HashPassword(Account user, string password)
        {
            Now("hashed");
            return base.HashPassword(user, password);
        }

        private void Now(string when)
        {
            if (_does is { } does && does.When == when)
            {
                _does = null;
                Task.Run(does.Act).GetAwaiter().GetResult();
            }
        }
    }

    /// <summary>Does something else while a password is looked at.</summary>
    private sealed class Meanwhile : IPasswordValidator<Account>
    {
        public Func<Task>? Does { get; set; }

        public async Task<IdentityResult> ValidateAsync(UserManager<Account> manager, Account user, string? password)
        {
            if (Does is { } act)
            {
                Does = null;
                await act();
            }

            return IdentityResult.Success;
        }
    }

    /// <summary>Passwords cost what they cost; tests of everything around them need not pay it a hundred times.</summary>
    private Task<Installation> StartAsync(Db db, TimeProvider? time = null) =>
        Installation.StartAsync(
            cluster,
            db,
            time: time,
            connect: false,
            configure: s => s.Configure<Microsoft.AspNetCore.Identity.PasswordHasherOptions>(h => h.IterationCount = 2_000)
        );

    private static async Task<Account> WithPasswordAsync(Installation system, string email)
    {
        var accounts = system.Get<Accounts>();
        var (_, code) = await accounts.AddAsync(email, system.District, SecurityGroup.DistrictAdministrator, null, false, "test");
        return await accounts.UseAsync(code, null, Password);
    }

    private static async Task<PasswordAnswer> TryAsync(Accounts accounts, string password, string? code = null) =>
        (await accounts.CheckAsync(Address, password, code)).Answer;

    private static string Wrong(string code) =>
        ((int.Parse(code, CultureInfo.InvariantCulture) + 1) % 1_000_000).ToString("D6", CultureInfo.InvariantCulture);
}
