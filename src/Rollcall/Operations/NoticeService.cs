using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using MimeKit;
using Rollcall.Districts;
using Rollcall.OneRoster;
using Rollcall.Storage;

namespace Rollcall.Operations;

/// <summary>Whom a district tells, and the sending: each notice at least once, with growing pauses while its place does not answer.</summary>
public sealed class NoticeService(RollcallDatabase database, Secrets secrets, RollcallOptions options, TimeProvider time) : IDisposable
{
    /// <summary>HTTP header with the Unix seconds that are part of what is signed.</summary>
    public const string TimestampHeader = "Rollcall-Timestamp";

    /// <summary>HTTP header with <c>sha256=</c> and the HMAC in hexadecimal of timestamp, a dot, and the body.</summary>
    public const string SignatureHeader = "Rollcall-Signature";

    /// <summary>HTTP header with the notice's number: the same for every try, so that a receiver can drop what it has had.</summary>
    public const string DeliveryHeader = "Rollcall-Delivery";

    /// <summary>Why a notice that waited for another try was not sent.</summary>
    private const string NoLongerTold = "Nobody is told there any more: the place was taken out before this was sent.";

    private const int MostAddresses = 20;
    private const int AtOnce = 8;
    private static readonly TimeSpan s_lease = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan s_timeout = TimeSpan.FromSeconds(20);

    /// <summary>Mail goes out in the operator's name, to whichever addresses a district has entered: tests are counted.</summary>
    private const int MostTests = 60;
    private static readonly TimeSpan s_testsWithin = TimeSpan.FromMinutes(10);

    /// <summary>After the last of them a notice is given up.</summary>
    internal static readonly IReadOnlyList<TimeSpan> Pauses =
    [
        TimeSpan.FromMinutes(1),
        TimeSpan.FromMinutes(10),
        TimeSpan.FromHours(1),
        TimeSpan.FromHours(6),
    ];

    private readonly HttpClient _http = new(
        new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            PooledConnectionLifetime = TimeSpan.FromMinutes(2),
            ConnectCallback = options.Addresses().ConnectAsync,
            SslOptions = new SslClientAuthenticationOptions
            {
                // The runtime's own refusal has its reason further in, in words of its own.
                RemoteCertificateValidationCallback = (_, shown, chain, errors) =>
                    MailSender.Distrust(null, shown, chain, errors) is { } why
                        ? throw new RollcallException(
                            $"The webhook shows a certificate that is not trusted: {why}. Nothing was sent. Look at the address, or have its operator put the certificate right."
                        )
                        : true,
            },
        }
    )
    {
        Timeout = s_timeout,
    };

    public void Dispose() => _http.Dispose();

    /// <summary>Whom the district tells. Without a choice: nobody.</summary>
    public async Task<NoticeSetting> FindAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context.NoticeSettings.AsNoTracking().SingleOrDefaultAsync(n => n.DistrictId == districtId, cancellationToken)
            ?? new NoticeSetting { DistrictId = districtId };
    }

    /// <summary>Changes whom the district tells. Null leaves a part as it is.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="emails">All addresses; an empty list for none.</param>
    /// <param name="events">What is told.</param>
    /// <param name="webhook">The address; empty for none.</param>
    /// <param name="webhookSecret">What is signed with, at least 16 characters; needed with a new webhook.</param>
    /// <param name="actor">Who changes it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">An address cannot be used.</exception>
    public async Task<NoticeSetting> SetAsync(
        int districtId,
        IReadOnlyList<string>? emails,
        NoticeEvents? events,
        string? webhook,
        string? webhookSecret,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        try
        {
            // What had ended before is told to whoever was told then, and is no news to anybody who is named now.
            await new Aftermath(database, options, time).SettleAsync(districtId, cancellationToken);
        }
        catch (AggregateException)
        {
            // What cannot be settled keeps nobody from being named: a server tries it again, and says why.
        }

        await using var context = database.CreateContext();
        var setting = await context.NoticeSettings.SingleOrDefaultAsync(n => n.DistrictId == districtId, cancellationToken);
        if (setting is null)
        {
            setting = new NoticeSetting { DistrictId = districtId };
            context.NoticeSettings.Add(setting);
        }

        if (emails is not null)
        {
            var clean = emails.Select(e => e.Trim()).Where(e => e.Length > 0).Distinct(StringComparer.OrdinalIgnoreCase).ToList();
            if (clean.Find(e => !IsAddress(e)) is { } odd)
            {
                throw RollcallException.OfValue($"'{Patrons.Text.Cut(odd, 60)}' is no email address. Write it like office@school.example.");
            }

            if (clean.Count > MostAddresses)
            {
                throw RollcallException.OfValue($"At most {MostAddresses} addresses are told; use a mailing list for more.");
            }

            setting.Emails = string.Join('\n', clean);
        }

        if (webhook is not null)
        {
            webhook = webhook.Trim();
            if (webhook.Length == 0)
            {
                (setting.WebhookUrl, setting.WebhookSecret) = (null, null);
            }
            else
            {
                CheckWebhook(webhook);
                var moved = !string.Equals(setting.WebhookUrl, webhook, StringComparison.Ordinal);
                if (webhookSecret is null && (moved || setting.WebhookSecret is null))
                {
                    throw new RollcallException(
                        "A webhook needs a secret that its receiver knows, of at least 16 characters. Give it together with the address."
                    );
                }

                setting.WebhookUrl = webhook;
            }
        }

        if (webhookSecret is not null)
        {
            if (setting.WebhookUrl is null)
            {
                throw new RollcallException("There is no webhook to sign for. Give its address together with the secret.");
            }

            if (webhookSecret.Length < 16)
            {
                throw RollcallException.OfValue("The webhook's secret is too short to protect anything: use at least 16 characters.");
            }

            setting.WebhookSecret = secrets.Protect(districtId, webhookSecret);
        }

        setting.Events = events ?? setting.Events;
        context.AuditEntries.Add(
            new Audit.AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = "notices",
                Details =
                    $"{setting.Addresses.Count} email {(setting.Addresses.Count == 1 ? "address" : "addresses")}, {(setting.WebhookUrl is null ? "no webhook" : "a webhook")}; told: {EventsInWords(setting.Events)}",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
        return setting;
    }

    private static string EventsInWords(NoticeEvents events)
    {
        (NoticeEvents Event, string Words)[] all =
        [
            (NoticeEvents.Failed, "failed syncs"),
            (NoticeEvents.Held, "held changes"),
            (NoticeEvents.Warnings, "warnings"),
            (NoticeEvents.Completed, "nights without warnings"),
        ];
        return events == NoticeEvents.None ? "nothing" : string.Join(", ", all.Where(e => events.HasFlag(e.Event)).Select(e => e.Words));
    }

    /// <summary>The newest notices first.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="operationId">Of this operation alone; null for all.</param>
    /// <param name="take">At most so many.</param>
    /// <param name="before">Only those older than this one; null begins with the newest.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<Notice>> ListAsync(
        int districtId,
        long? operationId = null,
        int take = 100,
        long? before = null,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        return await context
            .Notices.AsNoTracking()
            .Where(n => n.DistrictId == districtId && (operationId == null || n.OperationId == operationId))
            .Where(n => before == null || n.Id < before)
            .OrderByDescending(n => n.Id)
            .Take(take)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Those of these operations of which somebody could not be told, or has not been yet though it was tried.</summary>
    public async Task<IReadOnlySet<long>> UntoldAsync(
        int districtId,
        IReadOnlyList<long> operations,
        CancellationToken cancellationToken = default
    )
    {
        if (operations.Count == 0)
        {
            return new HashSet<long>();
        }

        await using var context = database.CreateContext();
        return (
            await context
                .Notices.Where(n => n.DistrictId == districtId && n.OperationId != null && operations.Contains(n.OperationId.Value))
                .Where(n => n.Status != NoticeStatus.Sent && n.Error != null)
                .Select(n => n.OperationId!.Value)
                .ToListAsync(cancellationToken)
        ).ToHashSet();
    }

    /// <summary>Notices that were given up since, tests aside, and the last reason; 0 when there are none, or one was delivered after them.</summary>
    public async Task<(int Count, string? Error)> GivenUpAsync(
        int districtId,
        DateTimeOffset since,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var lately = await context
            .Notices.AsNoTracking()
            .Where(n => n.DistrictId == districtId && n.CreatedAt >= since && n.Status != NoticeStatus.Waiting)
            .OrderByDescending(n => n.Id)
            .Select(n => new
            {
                n.OperationId,
                n.Channel,
                n.Target,
                n.Status,
                n.Error,
            })
            .Take(200)
            .ToListAsync(cancellationToken);

        // A place that has been reached since, by a test too, is mended; one that nobody wants told any more is no trouble.
        var setting = await FindAsync(districtId, cancellationToken);
        var lost = lately
            .Where(n => IsTold(setting, n.Channel, n.Target))
            .GroupBy(n => (n.Channel, n.Target))
            .SelectMany(place => place.TakeWhile(n => n.Status == NoticeStatus.Failed).Where(n => n.OperationId is not null))
            .ToList();
        return (lost.Count, lost.FirstOrDefault()?.Error);
    }

    private static bool IsTold(NoticeSetting setting, NoticeChannel channel, string target) =>
        channel == NoticeChannel.Email
            ? setting.Addresses.Contains(target)
            : string.Equals(target, setting.WebhookUrl, StringComparison.Ordinal);

    /// <summary>Sends a test to every place at once, and says what came of each.</summary>
    /// <exception cref="RollcallException">Nobody is to be told, or many tests were sent a moment ago.</exception>
    public async Task<IReadOnlyList<Notice>> TestAsync(District district, CancellationToken cancellationToken = default)
    {
        var setting = await FindAsync(district.Id, cancellationToken);
        var now = time.GetUtcNow();
        Notice Of(NoticeChannel channel, string target, string body) =>
            new()
            {
                DistrictId = district.Id,
                Channel = channel,
                Target = target,
                Subject = $"{district.Name}: a test of notices",
                Body = body,
                CreatedAt = now,
                // Whoever asked waits for the answer here: no other node is to send it too.
                DueAt = now + s_lease,
                Attempts = 1,
            };
        var notices = setting
            .Addresses.Select(a => Of(NoticeChannel.Email, a, $"This is a test. Notices of {district.Name} reach this address.\n"))
            .ToList();
        if (setting.WebhookUrl is { } url)
        {
            notices.Add(
                Of(
                    NoticeChannel.Webhook,
                    url,
                    JsonSerializer.Serialize(new { @event = "test", district = district.Code }, OperationQueue.Json)
                )
            );
        }

        if (notices.Count == 0)
        {
            throw new RollcallException("Nobody is told of anything yet. Enter an email address or a webhook first.");
        }

        await using var context = database.CreateContext();
        var lately = now - s_testsWithin;
        var tests = await context.Notices.CountAsync(
            n => n.DistrictId == district.Id && n.OperationId == null && n.CreatedAt > lately && n.CreatedAt <= now,
            cancellationToken
        );
        if (tests + notices.Count > MostTests)
        {
            throw new RollcallException(
                $"Many tests were sent in the last {s_testsWithin.TotalMinutes:0} minutes. Look whether they have arrived, and go on a little later."
            );
        }

        context.Notices.AddRange(notices);
        await context.SaveChangesAsync(cancellationToken);
        await Parallel.ForEachAsync(
            notices,
            new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancellationToken },
            async (notice, stop) =>
            {
                notice.Error = await TrySendAsync(notice, setting.WebhookSecret, stop);
                notice.Status = notice.Error is null ? NoticeStatus.Sent : NoticeStatus.Failed;
                notice.SentAt = notice.Error is null ? time.GetUtcNow() : null;
            }
        );

        await context.SaveChangesAsync(cancellationToken);
        return notices;
    }

    /// <summary>Sends what is due one way. Several nodes may do so at once.</summary>
    /// <returns>How many were tried.</returns>
    public async Task<int> SendDueAsync(NoticeChannel channel, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        var now = time.GetUtcNow();
        var due = await context
            .Notices.AsNoTracking()
            .Where(n => n.Status == NoticeStatus.Waiting && n.Channel == channel && n.DueAt <= now)
            .OrderBy(n => n.DueAt)
            .Take(50)
            .ToListAsync(cancellationToken);
        var tried = 0;

        // Places beside each other, so that one that hangs keeps no other waiting for longer than it must.
        await Parallel.ForEachAsync(
            due.GroupBy(n => n.Target),
            new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancellationToken },
            async (place, stop) =>
            {
                foreach (var notice in place)
                {
                    if (await SendAsync(notice, stop))
                    {
                        Interlocked.Increment(ref tried);
                    }
                }
            }
        );
        return tried;
    }

    /// <returns>False when another node has it.</returns>
    private async Task<bool> SendAsync(Notice notice, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var until = time.GetUtcNow() + s_lease;
        var mine = await context
            .Notices.Where(n => n.Id == notice.Id && n.Status == NoticeStatus.Waiting && n.DueAt == notice.DueAt)
            .ExecuteUpdateAsync(
                s => s.SetProperty(n => n.DueAt, until).SetProperty(n => n.Attempts, n => n.Attempts + 1),
                cancellationToken
            );
        if (mine == 0)
        {
            return false;
        }

        var setting = await FindAsync(notice.DistrictId, cancellationToken);
        var wanted = IsTold(setting, notice.Channel, notice.Target);
        var error = wanted ? await TrySendAsync(notice, setting.WebhookSecret, cancellationToken) : NoLongerTold;
        var ended = time.GetUtcNow();
        var status =
            error is null ? NoticeStatus.Sent
            : wanted && notice.Attempts < Pauses.Count ? NoticeStatus.Waiting
            : NoticeStatus.Failed;
        var next = status == NoticeStatus.Waiting ? ended + Pauses[notice.Attempts] : ended;
        DateTimeOffset? sent = error is null ? ended : null;
        await context
            .Notices.Where(n => n.Id == notice.Id && n.DueAt == until)
            .ExecuteUpdateAsync(
                s =>
                    s.SetProperty(n => n.Status, status)
                        .SetProperty(n => n.DueAt, next)
                        .SetProperty(n => n.SentAt, sent)
                        .SetProperty(n => n.Error, error),
                cancellationToken
            );
        return true;
    }

    /// <summary>The value of <see cref="SignatureHeader"/>.</summary>
    public static string Sign(string secret, string timestamp, string body) =>
        "sha256="
        + Convert.ToHexStringLower(HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), Encoding.UTF8.GetBytes($"{timestamp}.{body}")));

    private void CheckWebhook(string url)
    {
        // What may follow a question mark here is the receiver's own; the rest is judged as any address that customers type.
        if (options.Addresses().Refusal(url.Split('?')[0]) is { } refusal)
        {
            throw Uri.TryCreate(url, UriKind.Absolute, out _) ? new RollcallException(refusal) : RollcallException.OfValue(refusal);
        }
    }

    /// <returns>Null when it was taken; else why not, in one line.</returns>
    private async Task<string?> TrySendAsync(Notice notice, string? webhookSecret, CancellationToken cancellationToken)
    {
        try
        {
            if (notice.Channel == NoticeChannel.Email)
            {
                var mail =
                    options.Mail
                    ?? throw new RollcallException(
                        "No email can be sent from here: ROLLCALL_SMTP_HOST and ROLLCALL_SMTP_FROM are not set. They are settings of each process: a command needs those of the server too, and a test that is sent from the pages is sent by the server."
                    );
                await MailSender.SendAsync(mail, notice, cancellationToken);
                return null;
            }

            return await PostAsync(notice, webhookSecret, cancellationToken);
        }
        catch (RollcallException e)
        {
            return e.Message;
        }
        catch (RosterException e)
        {
            return e.Message;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return $"The webhook gave no answer within {s_timeout.TotalSeconds:0} seconds. See whether its receiver runs.";
        }
        catch (HttpRequestException e) when (e.GetBaseException() is RollcallException distrusted)
        {
            return distrusted.Message;
        }
        catch (HttpRequestException e)
        {
            return $"The webhook cannot be reached: {Patrons.Text.Cut(e.GetBaseException().Message.ReplaceLineEndings(" ").TrimEnd('.'), 200)}. See whether its receiver runs, and look at the address.";
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            return Patrons.Text.Cut($"{e.Message}".ReplaceLineEndings(" "), 300);
        }
    }

    private async Task<string?> PostAsync(Notice notice, string? protectedSecret, CancellationToken cancellationToken)
    {
        if (protectedSecret is null)
        {
            return NoLongerTold;
        }

        CheckWebhook(notice.Target);
        var timestamp = time.GetUtcNow().ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(notice.Target));
        request.Content = new StringContent(notice.Body, Encoding.UTF8, "application/json");
        request.Headers.UserAgent.ParseAdd("Rollcall");
        request.Headers.Add(TimestampHeader, timestamp);
        request.Headers.Add(DeliveryHeader, notice.Id.ToString(CultureInfo.InvariantCulture));
        request.Headers.Add(SignatureHeader, Sign(secrets.Unprotect(notice.DistrictId, protectedSecret), timestamp, notice.Body));
        using var answer = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        return answer.IsSuccessStatusCode ? null
            : (int)answer.StatusCode is >= 300 and < 400
                ? $"The webhook answered {(int)answer.StatusCode} with a redirect, which is not followed. Enter the final address."
            : $"The webhook answered {(int)answer.StatusCode}.";
    }

    private static bool IsAddress(string text) =>
        text.Length <= 254
        && !text.Any(c => char.IsControl(c) || char.IsWhiteSpace(c) || c is '<' or '>' or ',' or ';')
        && MailboxAddress.TryParse(text, out var parsed)
        && string.Equals(parsed.Address, text, StringComparison.Ordinal)
        && text.IndexOf('@', StringComparison.Ordinal) is var at
        && at > 0
        && text.IndexOf('.', at) > at + 1
        && !text.EndsWith('.');
}
