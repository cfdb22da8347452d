using System.CommandLine;
using Rollcall.Patrons;
using Rollcall.SignIn;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall account</c>: local accounts. Passwords never pass through here: links that serve once set them.</summary>
internal static class AccountCommands
{
    private sealed record Added(string Email, string? District, string? Group, bool Operator, string? Link, bool Renewed);

    private sealed record Dropped(string Email);

    private sealed record NoOperator(string Email, IReadOnlyList<string> Districts);

    private sealed record Linked(string Email, string Link);

    private sealed record Place(string District, string Group, string? Sites);

    private sealed record Row(
        string Email,
        bool Operator,
        bool HasPassword,
        bool SecondFactor,
        int Passkeys,
        DateTimeOffset? LockedUntil,
        IReadOnlyList<Place> Memberships
    );

    public static Command Build(Terminal terminal) =>
        new("account", "Local accounts: the way in beside ClassLink")
        {
            Add(terminal),
            Reset(terminal),
            DropSecondFactor(terminal),
            Lock(terminal),
            Unlock(terminal),
            DropOperator(terminal),
            List(terminal),
        };

    /// <summary>The address of a link that serves once.</summary>
    public static string Link(Terminal terminal, string? url, string code) =>
        $"{(url ?? GlobalOptions.Given(terminal.Variable(ServeCommand.PublicUrlVariable)) ?? ServeCommand.DefaultUrl).TrimEnd('/')}/link?code={code}";

    private static Option<string?> UrlOption() =>
        new(Url)
        {
            Description =
                $"The server's address, for the link ({ServeCommand.PublicUrlVariable}); {ServeCommand.DefaultUrl} without being told",
            HelpName = "URL",
        };

    private const string Url = "--url";

    /// <summary>What was said of the server's address, looked at before anything is done: a link that leads nowhere would be used up for nothing.</summary>
    /// <exception cref="UsageException">It is none.</exception>
    private static string? Address(string? given) =>
        GlobalOptions.Given(given) is { } url ? ServeCommand.Address(url, Url).GetLeftPart(UriPartial.Authority) : null;

    private static Command Add(Terminal terminal)
    {
        var email = new Argument<string>("EMAIL") { Description = "The address that the account signs in with" };
        var group = new Option<string?>("--group")
        {
            Description =
                "\"District Administrator\", \"Library Administrator\", Librarian or \"Student Aide\" of the district; Operator runs the installation",
            HelpName = "GROUP",
            Required = true,
        };
        var site = new Option<string[]>("--site")
        {
            Description = "A site that a librarian or aide works at; may be said several times, and need not where there is only one",
            HelpName = "CODE",
        };
        var keep = new Option<bool>("--keep-password")
        {
            Description =
                "An account that is there already keeps its password, second factor and passkeys, though the administrators of its district looked after it until now: when you know that nobody but its owner has them",
        };
        var url = UrlOption();
        var command = new Command("add", "Add an account, or change what one may do in the district; prints a link that sets its password")
        {
            email,
            group,
            site,
            keep,
            url,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var address = Address(result.GetValue(url));
                var word = result.GetRequiredValue(group) ?? "";
                var isOperator = word.Equals("operator", StringComparison.OrdinalIgnoreCase);
                var chosen = isOperator
                    ? SecurityGroup.Patron
                    : PatronFields.ParseGroup(word)
                        ?? throw new UsageException(
                            $"'{word}' is no group: there is District Administrator, Library Administrator, Librarian, Student Aide and Operator."
                        );
                var sites = result.GetValue(site) ?? [];
                if (sites.Length > 0 && (isOperator || chosen >= SecurityGroup.LibraryAdministrator))
                {
                    throw new UsageException("--site is for librarians and aides; administrators see every site.");
                }

                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = isOperator ? null : await session.DistrictAsync(cancellationToken);
                var (account, code, renewed) = await session
                    .Get<Accounts>()
                    .AddAsync(
                        result.GetRequiredValue(email),
                        district,
                        chosen,
                        sites.Length == 0 ? null : string.Join(',', sites),
                        isOperator,
                        Session.OwnActor,
                        cancellationToken: cancellationToken,
                        keep: result.GetValue(keep)
                    );
                var link = code is null ? null : Link(terminal, address, code);
                var place = isOperator ? "Operator" : PatronFields.GroupWord(chosen);
                if (session.Json)
                {
                    await JsonText.WriteAsync(
                        terminal,
                        new Added(account.Email!, district?.Code, isOperator ? null : place, account.IsOperator, link, renewed)
                    );
                    return;
                }

                await terminal.Out.WriteLineAsync(
                    $"{account.Email} is {place}{(district is null ? " of this installation" : $" of district {district.Code}")}."
                );
                if (renewed)
                {
                    await terminal.Out.WriteLineAsync(
                        "It was there before, and others looked after it: its password, second factor and passkeys open nothing any more. --keep-password keeps them."
                    );
                }

                await terminal.Out.WriteLineAsync(
                    link is null
                        ? "The account has a password already."
                        : $"This link sets the password; it serves once, within a day:\n{link}"
                );
            }
        );
        return command;
    }

    private static Command Reset(Terminal terminal)
    {
        var email = new Argument<string>("EMAIL") { Description = "The account" };
        var url = UrlOption();
        var command = new Command("reset-password", "Print a link that sets a new password; it ends the account's sessions when it is used")
        {
            email,
            url,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var server = Address(result.GetValue(url));
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var address = result.GetRequiredValue(email);
                var code = await session.Get<Accounts>().ResetAsync(address, Session.OwnActor, cancellationToken);
                var link = Link(terminal, server, code);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Linked(address.Trim(), link));
                }
                else
                {
                    await terminal.Out.WriteLineAsync($"This link sets the password; it serves once, within a day:\n{link}");
                }
            }
        );
        return command;
    }

    private static Command DropSecondFactor(Terminal terminal)
    {
        var email = new Argument<string>("EMAIL") { Description = "The account" };
        var command = new Command(
            "drop-second-factor",
            "Take away a second factor that was lost, passkeys too; ends the account's sessions"
        )
        {
            email,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var address = result.GetRequiredValue(email).Trim();
                await session.Get<Accounts>().DropSecondFactorAsync(address, Session.OwnActor, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Dropped(address));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        $"{address} signs in with the password alone now, and can set up a new second factor."
                    );
                }
            }
        );
        return command;
    }

    private static Command Lock(Terminal terminal) =>
        Simple(
            terminal,
            "lock",
            "Close an account until it is unlocked: its sessions end, its tokens and links serve no more; never the last operator's",
            (accounts, address, gone) => accounts.LockAsync(address, Session.OwnActor, gone),
            address => $"{address} is locked. 'rollcall account unlock' opens it again."
        );

    private static Command Unlock(Terminal terminal) =>
        Simple(
            terminal,
            "unlock",
            "Open an account that was locked, by hand or by wrong passwords",
            (accounts, address, gone) => accounts.UnlockAsync(address, Session.OwnActor, gone),
            address => $"{address} can be signed in with again."
        );

    private static Command Simple(
        Terminal terminal,
        string verb,
        string description,
        Func<Accounts, string, CancellationToken, Task> act,
        Func<string, string> said
    )
    {
        var email = new Argument<string>("EMAIL") { Description = "The account" };
        var command = new Command(verb, description) { email };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var address = result.GetRequiredValue(email).Trim();
                await act(session.Get<Accounts>(), address, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Dropped(address));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(said(address));
                }
            }
        );
        return command;
    }

    private static Command DropOperator(Terminal terminal)
    {
        var email = new Argument<string>("EMAIL") { Description = "The account" };
        var command = new Command("drop-operator", "Take the operator's right away; places in districts stay; never the last operator's")
        {
            email,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var address = result.GetRequiredValue(email).Trim();
                var districts = await session.Get<Accounts>().DropOperatorAsync(address, Session.OwnActor, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new NoOperator(address, districts));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        $"{address} is no operator any more."
                            + (
                                districts.Count == 0
                                    ? ""
                                    : $" Its places stay, of district {string.Join(", ", districts)}; an administrator there takes them away."
                            )
                    );
                }
            }
        );
        return command;
    }

    private static Command List(Terminal terminal)
    {
        var command = new Command("list", "Show the accounts of the installation");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var all = await session.Get<Accounts>().ListAsync(null, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(
                        terminal,
                        all.Select(a => new Row(
                            a.Email,
                            a.IsOperator,
                            a.HasPassword,
                            a.SecondFactor,
                            a.Passkeys,
                            a.LockedUntil,
                            [.. a.Memberships.Select(m => new Place(m.District, PatronFields.GroupWord(m.Group), m.Sites))]
                        )),
                        cancellationToken
                    );
                }
                else if (all.Count == 0)
                {
                    await terminal.Out.WriteLineAsync(
                        "There is no account yet. 'rollcall serve' prints a link for the first one, or: rollcall account add EMAIL --group GROUP"
                    );
                }
                else
                {
                    terminal.WriteTable(
                        ["Email", "Groups", "Password", "Second factor", "Passkeys", "Locked until"],
                        all.Select(a =>
                            (string?[])
                                [
                                    a.Email,
                                    string.Join(
                                        "; ",
                                        (a.IsOperator ? ["Operator"] : Array.Empty<string>()).Concat(
                                            a.Memberships.Select(m =>
                                                $"{PatronFields.GroupWord(m.Group)} of {m.District}{(m.Sites is null ? "" : $" at {m.Sites}")}"
                                            )
                                        )
                                    ),
                                    a.HasPassword ? "set" : "not yet",
                                    a.SecondFactor ? "on" : null,
                                    a.Passkeys > 0 ? $"{a.Passkeys}" : null,
                                    a.LockedUntil is { } until ? JsonText.Instant(until) : null,
                                ]
                        )
                    );
                }
            }
        );
        return command;
    }
}
