using System.Globalization;
using System.Text;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Commands;
using Rollcall.Sync;

namespace Rollcall.Server.Pages.Parts;

/// <summary>The log of an operation as a file: text to read, CSV for a spreadsheet, JSON Lines for programs.</summary>
internal static class LogDownload
{
    public static async Task SendAsync(HttpContext http, long id, Here here, OperationQueue queue, OperationLog log)
    {
        var format = http.Request.Query["format"].ToString();
        if (format is not ("text" or "csv" or "jsonl") || !await here.LoadAsync(http))
        {
            http.Response.StatusCode = StatusCodes.Status404NotFound;
            return;
        }

        var filter = LogQuery.Filter(
            http.Request.Query,
            await http.RequestServices.GetRequiredService<Districts.SiteService>().ListAsync(here.District.Id, http.RequestAborted)
        );
        await StreamAsync(http, id, format, here.District, here.Actor, queue, log, filter);
    }

    /// <summary>Sends the log of a district's operation, and says so in the audit; 404 when it has none of that id.</summary>
    public static async Task StreamAsync(
        HttpContext http,
        long id,
        string format,
        District district,
        Actor actor,
        OperationQueue queue,
        OperationLog log,
        LogFilter filter
    )
    {
        Operation operation;
        try
        {
            operation = await queue.GetAsync(district.Id, id, http.RequestAborted);
        }
        catch (RollcallException)
        {
            http.Response.StatusCode = StatusCodes.Status404NotFound;
            return;
        }

        await http
            .RequestServices.GetRequiredService<Audit.AuditLog>()
            .AddAsync(district.Id, actor.Name, "export", $"Log of operation {id} as {format}", http.RequestAborted);
        var (type, ending) = format switch
        {
            "csv" => ("text/csv; charset=utf-8", "csv"),
            "jsonl" => ("application/x-ndjson; charset=utf-8", "jsonl"),
            _ => ("text/plain; charset=utf-8", "txt"),
        };
        http.Response.ContentType = type;
        http.Response.Headers.ContentDisposition =
            $"attachment; filename=\"rollcall-operation-{id.ToString(CultureInfo.InvariantCulture)}.{ending}\"";
        await using var writer = new StreamWriter(http.Response.Body, new UTF8Encoding(false), 32 * 1024)
        {
            NewLine = format == "csv" ? "\r\n" : "\n",
        };
        if (format == "csv")
        {
            // Spreadsheets take a file without this mark for the code page of the machine.
            await writer.WriteAsync('\uFEFF');
        }

        var rows = log.ReadAsync(district.Id, id, filter, cancellationToken: http.RequestAborted);
        await LogWriter.WriteAsync(writer, format, operation, district, rows);
    }
}

/// <summary>The filter of a log as its address holds it.</summary>
internal static class LogQuery
{
    public static LogFilter Filter(IQueryCollection query, IReadOnlyList<Districts.Site> sites) =>
        new(
            Enum.TryParse<Outcome>(query["outcome"], ignoreCase: true, out var outcome)
            && Enum.IsDefined(outcome)
            && outcome != Outcome.None
                ? outcome
                : null,
            sites.FirstOrDefault(s => string.Equals(s.Code, query["site"], StringComparison.OrdinalIgnoreCase))?.Id,
            query["warnings"] == "on",
            query["held"] == "on",
            Text.Clean(query["q"]) is { } search ? Text.Cut(search, 200) : null
        )
        {
            NoSite = query["site"] == PatronQuery.NoSiteWord,
        };
}
