using System.CommandLine;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Pages.Preferences;
using Rollcall.SignIn;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall token</c>: access tokens of programs.</summary>
internal static class TokenCommands
{
    private const int DefaultDays = 90;

    private sealed record Made(
        long Id,
        string Name,
        string? District,
        string? Group,
        IReadOnlyList<string> Scopes,
        DateTimeOffset ExpiresAt,
        string Token
    );

    private sealed record Row(
        long Id,
        string Name,
        string? Group,
        IReadOnlyList<string> Scopes,
        string CreatedBy,
        DateTimeOffset CreatedAt,
        DateTimeOffset ExpiresAt,
        DateTimeOffset? LastUsedAt,
        DateTimeOffset? RevokedAt
    );

    private sealed record Revoked(long Id, IReadOnlyList<string> AccountsItAdded);

    public static Command Build(Terminal terminal) =>
        new("token", "Access tokens: the way in of programs to the REST API") { Create(terminal), List(terminal), Revoke(terminal) };

    private static Option<bool> OperatorOption() =>
        new("--operator") { Description = "The operator's: districts and tenants of the installation, nothing of a district" };

    private static Command Create(Terminal terminal)
    {
        var name = new Argument<string>("NAME") { Description = "What it is for" };
        var group = new Option<string?>("--group")
        {
            Description = "\"Library Administrator\" (without being told) or \"District Administrator\"",
            HelpName = "GROUP",
        };
        var scope = new Option<string[]>("--scope")
        {
            Description =
                $"What it may be used for: {string.Join(", ", AccessTokens.Words.Where(w => w.Scope != TokenScopes.Installation).Select(w => w.Word))}, or all; joined by commas or said several times",
            HelpName = "SCOPE",
        };
        var days = new Option<int?>("--days") { Description = $"How long it lives; {DefaultDays} without being told", HelpName = "N" };
        var forOperator = OperatorOption();
        var command = new Command("create", "Make a token and print it; it is never to be had again")
        {
            name,
            group,
            scope,
            days,
            forOperator,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var isOperator = result.GetValue(forOperator);
                var word = GlobalOptions.Given(result.GetValue(group));
                var words = result.GetValue(scope) ?? [];
                if (isOperator && (word is not null || words.Length > 0))
                {
                    throw new UsageException("--operator has neither --group nor --scope.");
                }

                var chosen = word is null
                    ? SecurityGroup.LibraryAdministrator
                    : PatronFields.ParseGroup(word)
                        ?? throw new UsageException($"'{word}' is no group: there is Library Administrator and District Administrator.");
                var scopes = AccessTokens.Parse(words);
                if (!isOperator)
                {
                    Access.CheckUse(chosen, scopes);
                }

                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = isOperator ? null : await session.DistrictAsync(cancellationToken);
                var (row, token) = await session
                    .Get<AccessTokens>()
                    .CreateAsync(
                        district,
                        result.GetRequiredValue(name),
                        chosen,
                        scopes,
                        TimeSpan.FromDays(Math.Clamp(result.GetValue(days) ?? DefaultDays, 0, 10_000)),
                        Session.OwnActor,
                        cancellationToken: cancellationToken
                    );
                if (session.Json)
                {
                    await JsonText.WriteAsync(
                        terminal,
                        new Made(
                            row.Id,
                            row.Name,
                            district?.Code,
                            isOperator ? null : PatronFields.GroupWord(row.Group),
                            [.. AccessTokens.WordsOf(row.Scopes)],
                            row.ExpiresAt,
                            token
                        )
                    );
                    return;
                }

                await terminal.Out.WriteLineAsync(
                    $"Token {row.Id}, good until {OperationText.When(row.ExpiresAt, district ?? new Districts.District())[..16]}. Keep it as you keep a password; it is not shown again:\n{token}"
                );
            }
        );
        return command;
    }

    private static Command List(Terminal terminal)
    {
        var forOperator = OperatorOption();
        var command = new Command("list", "Show the tokens there are, secrets aside") { forOperator };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = result.GetValue(forOperator) ? null : await session.DistrictAsync(cancellationToken);
                var all = await session.Get<AccessTokens>().ListAsync(district?.Id, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(
                        terminal,
                        all.Select(t => new Row(
                            t.Id,
                            t.Name,
                            t.DistrictId is null ? null : PatronFields.GroupWord(t.Group),
                            [.. AccessTokens.WordsOf(t.Scopes)],
                            t.CreatedBy,
                            t.CreatedAt,
                            t.ExpiresAt,
                            t.LastUsedAt,
                            t.RevokedAt
                        )),
                        cancellationToken
                    );
                    return;
                }

                if (all.Count == 0)
                {
                    await terminal.Out.WriteLineAsync("There is no token. Make one: rollcall token create NAME --scope SCOPE");
                    return;
                }

                var where = district ?? new Districts.District();
                terminal.WriteTable(
                    ["Id", "Name", "Group", "Scopes", "Made by", "Good until", "Last used"],
                    all.Select(t =>
                        (string?[])
                            [
                                JsonText.Line(t.Id),
                                t.Name,
                                t.DistrictId is null ? "" : PatronFields.GroupWord(t.Group),
                                t.Scopes == AccessTokens.AllOfDistrict ? "all" : string.Join(", ", AccessTokens.WordsOf(t.Scopes)),
                                t.CreatedBy,
                                t.RevokedAt is null ? OperationText.When(t.ExpiresAt, where)[..16] : "revoked",
                                t.LastUsedAt is { } used ? OperationText.When(used, where)[..16] : "never",
                            ]
                    )
                );
            }
        );
        return command;
    }

    private static Command Revoke(Terminal terminal)
    {
        var id = new Argument<long>("ID") { Description = "The token, as list shows it" };
        var forOperator = OperatorOption();
        var command = new Command("revoke", "End a token at once") { id, forOperator };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = result.GetValue(forOperator) ? null : await session.DistrictAsync(cancellationToken);
                var token = result.GetRequiredValue(id);
                var accounts = await session.Get<AccessTokens>().RevokeAsync(district?.Id, token, Session.OwnActor, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Revoked(token, accounts));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(TokensModel.RevokedSentence($"Token {token}", accounts));
                }
            }
        );
        return command;
    }
}
